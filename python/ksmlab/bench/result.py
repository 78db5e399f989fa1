"""What was measured: samples, and what they were measured on. Frozen, and the same in JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ksmlab.stored import check_format

if TYPE_CHECKING:
    from pathlib import Path

#: Changes when an old results.json cannot be read any more.
FORMAT = 1


@dataclass(frozen=True)
class Sample:
    """One engine on one workload, once.

    Attributes:
        kernel: The kernel's name in vm/kernels.toml.
        run: Which run, from 0; figures of the same run, workload and factor may be divided by one another.
        workload: Its name.
        engine: One of plan.ENGINES, or plan.LIMIT.
        factor: How many times the usual memory.
        npages: Pages that were registered.
        present: Pages of them that were there.
        possible: Frames that could be saved.
        figures: Metric to value; what could not be measured is not in it.
        curve: CPU nanoseconds and frames saved, as merging went on.
        note: What to know about it.
        settings: What the engine was told, by the names of its files and parameters.
    """

    kernel: str
    run: int
    workload: str
    engine: str
    factor: int
    npages: int
    present: int
    possible: int
    figures: dict[str, float]
    curve: tuple[tuple[int, int], ...] = ()
    note: str = ""
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Sample:
        """Read what dataclasses.asdict() and JSON made of one."""
        curve = tuple((int(cpu), int(saved)) for cpu, saved in data["curve"])
        return cls(**{**data, "curve": curve})


@dataclass(frozen=True)
class Guest:
    """A VM in which was measured.

    Attributes:
        kernel: Its kernel's name in vm/kernels.toml.
        release: What uname -r says there.
        cpus: Virtual CPUs.
        memory: Bytes of memory.
        accel: How the VM was run.
        engines: What could be measured there.
    """

    kernel: str
    release: str
    cpus: int
    memory: int
    accel: str
    engines: tuple[str, ...]

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Guest:
        """Read what dataclasses.asdict() and JSON made of one."""
        return cls(**{**data, "engines": tuple(data["engines"])})


@dataclass(frozen=True)
class Results:
    """Everything that one `ksmlab bench` measured.

    Attributes:
        command: The exact command.
        commit: The commit of the checkout, with "-dirty" when it had changes.
        machine: The host's CPU.
        when: UTC, ISO 8601.
        guests: Where was measured.
        samples: What was.
    """

    command: str
    commit: str
    machine: str
    when: str
    guests: tuple[Guest, ...] = ()
    samples: tuple[Sample, ...] = field(default=())

    def to_data(self) -> dict[str, Any]:
        """Give plain data for JSON."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Results:
        """Read what to_data() gave; keys that it does not know are left out.

        Raises:
            FormatError: It is of another format.
        """
        check_format(
            data, FORMAT, "the file", untouched="Nothing is changed.", hint="measure again"
        )
        return cls(
            command=data["command"],
            commit=data["commit"],
            machine=data["machine"],
            when=data["when"],
            guests=tuple(Guest.from_data(one) for one in data["guests"]),
            samples=tuple(Sample.from_data(one) for one in data["samples"]),
        )

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a results.json.

        Raises:
            OSError: It cannot be read.
            ValueError: It is something else, or of another format.
        """
        return cls.from_data(json.loads(path.read_text()))
