"""Compare in-kernel KSM with this driver, in the same boot and on the same memory.

The modules guest, workloads, reality, engines, figures, probe, tracer, lock_tracer, aging, batches, holds and latency
run in the guest and measure. The modules runner, summary, targets, report, baseline, check, holds_host and latency_host
run on the host, boot the VM, and evaluate the results. `plan` defines the data that the host sends to the guest, and
`result` the data that the guest sends back.
"""
