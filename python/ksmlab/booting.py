"""Boot a VM for a command, load the driver in it, and show the progress."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ksmlab import lab as lab_module
from ksmlab.vm import accel
from ksmlab.vm.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.vm.config import MachineConfig


@contextlib.contextmanager
def booted(
    lab: lab_module.Lab, name: str | None, *, module: bool, config: MachineConfig
) -> Iterator[Machine]:
    """Provide a booted VM during the block, and show each step of its preparation.

    Args:
        lab: The checkout.
        name: The name of the kernel, or None for the lab's default kernel. It is fetched or built if it is not cached.
        module: Whether to build the driver and load it in the VM.
        config: The configuration of the VM.

    Raises:
        VmError: A kernel is not available, the driver does not build or load, or the VM does not boot.
    """
    kernel = lab.kernel(name or lab.default_kernel())
    name = kernel.name
    built = lab.build(kernel) if module else None
    how = accel.probe()
    lab.progress.say(how.why)
    with contextlib.ExitStack() as stack:
        with lab.progress.step(f"{name}: booting"):
            machine = stack.enter_context(Machine(kernel, config, accel=how))
        if built is not None:
            with lab.progress.step(f"{name}: loading the driver"):
                lab_module.load(machine, built)
        yield machine
