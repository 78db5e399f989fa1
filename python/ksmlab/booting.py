"""Boot a VM with the driver in it, for a command that a person waits for."""

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
    """Fetch, build and boot what is asked for, showing each step; end the machine after the block.

    Gives a booted machine, with the driver loaded if `module`.
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
