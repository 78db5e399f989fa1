"""The page that a run of the demonstration leaves: one HTML file, which needs no server and nothing from elsewhere."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.demo.curves import plots
from ksmlab.demo.record import RunRecord
from ksmlab.pictures import layout
from ksmlab.pictures.render import environment, style

if TYPE_CHECKING:
    from ksmlab.demo.record import Line

TEMPLATES = Path(__file__).with_name("templates")
PAGE_NAME = "index.html"
RECORD_NAME = "run.json"

#: What an event says, in the order in which they are offered.
EVENTS = {
    "merge": "a page has given way to a kernel page",
    "break": "a merged page is private again",
    "skip": "a page is left alone",
    "node_dropped": "a kernel page is not used any more",
    "pass_start": "kksmd begins a pass",
    "pass_end": "kksmd has gone round all regions",
}


@dataclass(frozen=True)
class Step:
    """A step of the demonstration, and what was noted and checked in it."""

    line: Line
    lines: tuple[Line, ...]


def steps(lines: tuple[Line, ...]) -> list[Step]:
    """Put lines together with the step that they are in; what comes before the first is left out."""
    starts = [number for number, line in enumerate(lines) if line.kind == "step"]
    return [
        Step(lines[start], lines[start + 1 : end])
        for start, end in itertools.pairwise([*starts, len(lines)])
    ]


def html(record: RunRecord, *, embedded: bool = False) -> str:
    """Write the page of a run.

    Args:
        record: The run.
        embedded: Whether another page shows this one in a frame. Then the heading, the list of links and the steps of
            the run are left out.
    """
    counts = Counter(event.name for event in record.events)
    names = [name for name in (*EVENTS, *sorted(counts.keys() - EVENTS.keys())) if counts[name]]
    return (
        environment(TEMPLATES)
        .get_template("index.html.j2")
        .render(
            record=record,
            embedded=embedded,
            failed=any(line.kind == "failure" for line in record.lines),
            panels=layout.panels(record.picture) if record.picture else [],
            side=layout.SIDE,
            colours=layout.colour_words(record.picture) if record.picture else "",
            columns=layout.columns_for(1),
            arena_style=style(),
            plots=plots(record.samples, record.lines),
            steps=steps(record.lines),
            names=[(name, EVENTS.get(name, ""), counts[name]) for name in names],
            people=sorted({event.who for event in record.events} - {""}),
        )
    )


def write(record: RunRecord, directory: Path) -> Path:
    """Write the page into a directory, and return its path.

    Raises:
        OSError: it cannot be written to.
    """
    directory.mkdir(parents=True, exist_ok=True)
    page = directory / PAGE_NAME
    page.write_text(html(record))
    return page


def finish(record: Path, command: str, kernel: str) -> Path | None:
    """Make the page of a run in a VM, beside its record.

    Args:
        record: what the guest has written.
        command: what started the run.
        kernel: the name of the kernel that was booted.

    Returns:
        The page, or None if the guest has left no record.
    """
    if not record.exists():
        return None
    run = RunRecord.read(record)
    run = replace(run, command=command, kernel=f"{kernel} (Linux {run.kernel})")
    run.write(record)
    return write(run, record.parent)
