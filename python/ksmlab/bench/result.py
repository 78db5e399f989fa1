"""The results of a benchmark: samples, and the machines on which they were measured. Stored as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ksmlab.stored import check_format

if TYPE_CHECKING:
    from pathlib import Path

#: The format version of results.json. Increase it when old files cannot be read any more.
FORMAT = 1


@dataclass(frozen=True)
class Sample:
    """One measurement of one engine on one workload.

    Attributes:
        kernel: The kernel's name in vm/kernels.toml.
        run: The number of the run, from 0. Only figures of the same run, workload and factor are comparable.
        workload: The name of the workload.
        engine: One of plan.ENGINES, or plan.LIMIT.
        factor: The multiple of the usual memory.
        npages: The number of registered pages.
        present: The number of these pages that were present.
        possible: The number of frames that could be saved.
        figures: The values by metric, without those that could not be measured.
        curve: Pairs of CPU nanoseconds and frames saved, in the course of the merge.
        note: A remark, for example that the goal was not reached.
        settings: The engine's settings, by the names of its sysfs files and parameters.
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
        """Convert the plain data of a sample, as made by dataclasses.asdict() and JSON."""
        curve = tuple((int(cpu), int(saved)) for cpu, saved in data["curve"])
        return cls(**{**data, "curve": curve})


@dataclass(frozen=True)
class Guest:
    """A VM in which samples were measured.

    Attributes:
        kernel: Its kernel's name in vm/kernels.toml.
        release: The release of the kernel, as printed by uname -r.
        cpus: The number of virtual CPUs.
        memory: The size of its memory, in bytes.
        accel: The way in which its CPUs were run, as text.
        engines: The engines that are available on the kernel.
    """

    kernel: str
    release: str
    cpus: int
    memory: int
    accel: str
    engines: tuple[str, ...]

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Guest:
        """Convert the plain data of a VM, as made by dataclasses.asdict() and JSON."""
        return cls(**{**data, "engines": tuple(data["engines"])})


@dataclass(frozen=True)
class Results:
    """The results of one `ksmlab bench`.

    Attributes:
        command: The exact command.
        commit: The commit of the checkout, with "-dirty" if it had changes.
        machine: The host's CPUs and their load.
        when: The time of the start: UTC, ISO 8601.
        guests: The VMs.
        samples: The samples.
    """

    command: str
    commit: str
    machine: str
    when: str
    guests: tuple[Guest, ...] = ()
    samples: tuple[Sample, ...] = field(default=())

    def to_data(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Results:
        """Convert the result of to_data(). Unknown keys are ignored.

        Raises:
            FormatError: The data has another format version.
        """
        check_format(
            data, FORMAT, "the file", untouched="Nothing was changed.", hint="measure again"
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
            OSError: The file cannot be read.
            ValueError: The file is not valid JSON, or has another format version.
        """
        return cls.from_data(json.loads(path.read_text()))
