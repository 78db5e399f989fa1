"""What every VM of a run is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: How long a test may take that does not say it, on hardware.
TEST_SECONDS = 75.0


@dataclass(frozen=True)
class Plan:
    """What every VM of a run is made of.

    Attributes:
        arguments: The host's pytest arguments.
        cwd: Where it was started.
        allow: The allow-list of splats, if there is one.
        boot_args: More arguments for the kernel.
        memory: The VM's, as QEMU takes it; the kernel's own wish if None.
        cpus: Virtual CPUs.
        deadline: Seconds for a test that does not say how long it may take; stretched under emulation.
        record: Where the story of each test is stored, if it is.
        keep: Whether a person may want to look at the VM after a failure.
        environment: What the tests' environment has in the guest.
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
