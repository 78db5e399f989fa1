"""The configuration of the VMs of a test run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: The default time limit of a test with KVM and an ordinary kernel, in seconds.
TEST_SECONDS = 75.0


@dataclass(frozen=True)
class Plan:
    """The configuration of the VMs of a test run.

    Attributes:
        arguments: The arguments of pytest on the host.
        cwd: The directory in which pytest was started.
        allow: The file with the allow-list of kernel reports; None if there is none.
        boot_args: More arguments for the kernel's command line.
        memory: The VM's memory in QEMU's notation; None for as much as the kernel needs.
        cpus: The number of virtual CPUs.
        deadline: The time limit in seconds for a test without its own; multiplied by the slowness of the VM.
        record: The directory in which the events of each test are stored; None not to store them.
        keep: Whether to keep the VM running after a failure.
        environment: Variables to add to the environment of the tests in the guest.
        objects: Files with debug information, by module name.
    """

    arguments: tuple[str, ...]
    cwd: Path
    allow: Path | None = None
    boot_args: tuple[str, ...] = ()
    memory: str | None = None
    cpus: int = 2
    deadline: float = TEST_SECONDS
    record: Path | None = None
    keep: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    objects: Mapping[str, Path] = field(default_factory=dict)
