"""The benchmark: the kernel's own KSM and this driver, in one boot, on the same memory.

The guest's half (guest, workloads, reality, engines, figures, probe, tracer, latency) measures; the host's half
(runner, summary, targets, report, baseline, check, latency_host) boots the VM, and says what came of it. `plan` and
`result` are what they say to each other.
"""
