"""Write the report of a run of the demonstration: an HTML file that needs no server and no other files."""

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

#: The meanings of the events, in the order in which the page lists them.
EVENTS = {
    "merge": "a kernel page has replaced a page",
    "break": "a merged page has become private again",
    "skip": "the driver does not merge a page",
    "node_dropped": "a kernel page is no longer used",
    "pass_start": "kksmd starts a pass",
    "pass_end": "kksmd has scanned all regions",
}


@dataclass(frozen=True)
class Step:
    """A step of the demonstration, and the notes and checks that belong to it."""

    line: Line
    lines: tuple[Line, ...]


def steps(lines: tuple[Line, ...]) -> list[Step]:
    """Group lines by the step to which they belong. Lines before the first step are omitted."""
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
    """Write the page to a directory, which is created if it does not exist, and return its path.

    Raises:
        OSError: The page cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    page = directory / PAGE_NAME
    page.write_text(html(record))
    return page


def finish(record: Path, command: str, kernel: str) -> Path | None:
    """Write the page of a run in a VM, to the directory of its record.

    The command and the kernel are stored in the record as well.

    Args:
        record: The record that the guest has written.
        command: The command that started the run.
        kernel: The name of the kernel of the VM.

    Returns:
        The path of the page, or None if there is no record.
    """
    if not record.exists():
        return None
    run = RunRecord.read(record)
    run = replace(run, command=command, kernel=f"{kernel} (Linux {run.kernel})")
    run.write(record)
    return write(run, record.parent)
