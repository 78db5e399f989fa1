"""Boot distribution kernels in VMs, build modules for them, and run commands in them.

Nothing in this package knows what the module under test does, so it serves any out-of-tree module:

- `kernels` finds a kernel by name, and fetches it without root;
- `build` builds a directory of module sources for it;
- `accel` says whether this host's KVM is worth using;
- `machine` boots it and runs commands;
- `splat` finds what went wrong in a kernel log.
"""
