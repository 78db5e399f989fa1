"""The record of a run of the demonstration, from which its HTML page is made. Stored as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from ksmlab.pictures.model import Picture
from ksmlab.stored import check_format

if TYPE_CHECKING:
    from pathlib import Path

#: The format version of the JSON. Increase it when the meaning of the data changes.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """The driver's counters at one moment; sysfs.Counters describes them.

    Attributes:
        seconds: The time in seconds since the start of the run.
    """

    seconds: float
    pages_shared: int
    kernel_pages_allocated: int
    full_scans: int
    pages_volatile: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line that the demonstration has shown.

    Attributes:
        seconds: The time in seconds since the start of the run.
        kind: "step", "note", "check" or "failure".
        text: The text of the line.
    """

    seconds: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a tracepoint of the driver.

    Attributes:
        seconds: The time in seconds since the start of the run.
        name: The name without the prefix: "merge", "break", "pass_end" and so on.
        who: The owner of the page, such as "process 135"; "" if the event is not about a page of a process.
        page: The number of the page in the process's arena; -1 if there is none.
        text: The fields of the event, as printed by the kernel.
    """

    seconds: float
    name: str
    who: str
    page: int
    text: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of the demonstration.

    Attributes:
        command: The command that started it.
        kernel: The release of the kernel.
        when: The time of the start: UTC, ISO 8601.
        title: Its title.
        verdict: Its result, as text.
        lines: The lines that it has shown.
        samples: The driver's counters in the course of the run.
        picture: Some pages of each process at a few moments; None if the run ended before the first.
        events: The driver's events about these pages, and about its passes.
    """

    command: str
    kernel: str
    when: str
    title: str
    verdict: str
    lines: tuple[Line, ...] = ()
    samples: tuple[Sample, ...] = ()
    picture: Picture | None = None
    events: tuple[Event, ...] = ()

    def to_data(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        picture = None if self.picture is None else self.picture.to_data()
        return {"format": FORMAT, **asdict(self), "picture": picture}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """Convert the result of to_data().

        Raises:
            FormatError: The data has another format version.
        """
        check_format(
            data, FORMAT, "the record", untouched="No page was made.", hint="run `make demo` again"
        )
        return cls(
            command=data["command"],
            kernel=data["kernel"],
            when=data["when"],
            title=data["title"],
            verdict=data["verdict"],
            lines=tuple(Line(**line) for line in data["lines"]),
            samples=tuple(Sample(**sample) for sample in data["samples"]),
            picture=None if data["picture"] is None else Picture.from_data(data["picture"]),
            events=tuple(Event(**event) for event in data["events"]),
        )

    def write(self, path: Path) -> None:
        """Write the record as JSON."""
        path.write_text(json.dumps(self.to_data()) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record that write() has stored.

        Raises:
            FormatError: The file has another format version.
        """
        return cls.from_data(json.loads(path.read_text()))
