"""What a run of the demonstration leaves for its page: plain data, stored as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from ksmlab.pictures.model import Picture
from ksmlab.stored import check_format

if TYPE_CHECKING:
    from pathlib import Path

#: Grows when the JSON changes its meaning.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters at one moment; see sysfs.Counters for what they count.

    Attributes:
        seconds: since the start.
    """

    seconds: float
    pages_shared: int
    kernel_pages_allocated: int
    full_scans: int
    pages_volatile: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the demonstration.

    Attributes:
        seconds: since the start.
        kind: "step", "note", "check" or "failure".
        text: what it says.
    """

    seconds: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """What a tracepoint of the driver said.

    Attributes:
        seconds: since the start.
        name: without the system: "merge", "break", "pass_end" ...
        who: whose page it is about, such as "process 135"; "" where it is about no page of a process.
        page: the page's number in that process's arena, -1 where there is none.
        text: the rest of the line, as the kernel printed it.
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
        command: what started it.
        kernel: the release that it ran on.
        when: UTC, ISO 8601.
        title: what it is about.
        verdict: how it ended.
        lines: what it said.
        samples: counters, while something was waited for.
        picture: some pages of each process, at a few moments; None if it ended before the first.
        events: what the driver said about those pages, and about its passes.
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
        """Give plain data, for JSON."""
        picture = None if self.picture is None else self.picture.to_data()
        return {"format": FORMAT, **asdict(self), "picture": picture}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """Take what to_data() gave.

        Raises:
            FormatError: it is of another format.
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
        """Store it as JSON."""
        path.write_text(json.dumps(self.to_data()) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what write() stored; FormatError if it is of another format."""
        return cls.from_data(json.loads(path.read_text()))
