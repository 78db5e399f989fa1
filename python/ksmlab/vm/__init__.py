"""Boot distribution kernels in VMs, build modules for them, and run commands in them.

This package does not depend on the module under test, so it can be used for any out-of-tree module:

- `kernels` finds a kernel by name, and fetches it without root;
- `build` builds modules for it;
- `accel` decides whether to use KVM;
- `machine` boots it, and runs commands in it;
- `splat` finds the reports of errors in its log.
"""
