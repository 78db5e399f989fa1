"""The driver's tracepoints, in our own instance of tracefs, so that the tracing of other processes is not disturbed.

Source: Documentation/trace/ftrace.rst (instances, trace_clock), Documentation/trace/events.rst (filters).
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

TRACING = Path("/sys/kernel/tracing")
SYSTEM = "devksm"
#: Events that name an address, and so can be kept to some pages.
_ABOUT_PAGES = ("merge", "break")
#: Kilobytes of buffer for each CPU; what does not fit is lost, and counted.
_BUFFER_KB = 2048
_LINE = re.compile(
    r"^\s*\S.*?\s\[\d+\]\s\S+\s+(?P<seconds>\d+\.\d+): devksm_(?P<name>\w+): (?P<text>.*)$"
)


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One line of a trace.

    Attributes:
        at: seconds of CLOCK_MONOTONIC, as time.monotonic() gives them.
        name: of the event, without "devksm_".
        text: what it says.
    """

    at: float
    name: str
    text: str

    def number(self, field: str) -> int:
        """Return a field that is a number, 0 if there is none of that name."""
        found = re.search(rf"\b{field}=(0x[0-9a-f]+|\d+)", self.text)
        return int(found[1], 0) if found else 0

    def word(self, field: str) -> str:
        """Return a field as it is printed, "" if there is none of that name."""
        found = re.search(rf"\b{field}=(\S+)", self.text)
        return found[1] if found else ""


def parse(lines: Iterable[str]) -> list[RawEvent]:
    """Read the lines of a trace file; comments and events of other systems are passed over."""
    found = (_LINE.match(line) for line in lines)
    return [RawEvent(float(one["seconds"]), one["name"], one["text"]) for one in found if one]


def page_filter(addresses: Iterable[int]) -> str:
    """Write a filter that lets events of some pages through, each run of neighbours as a range.

    Args:
        addresses: page-aligned.
    """
    runs: list[list[int]] = []
    for address in sorted(set(addresses)):
        if runs and address == runs[-1][1] + PAGE_SIZE:
            runs[-1][1] = address
        else:
            runs.append([address, address])
    return " || ".join(f"(addr >= {low:#x} && addr <= {high:#x})" for low, high in runs)


class Instance:
    """An instance of tracefs that records the driver's events."""

    def __init__(self, directory: Path) -> None:
        """Use an instance that exists."""
        self.directory = directory

    @property
    def _events(self) -> Path:
        return self.directory / "events" / SYSTEM

    def start(self, addresses: Sequence[int]) -> None:
        """Record: of what happens to pages, what happens at some addresses; of everything else, all.

        Args:
            addresses: of pages.
        """
        (self.directory / "trace").write_text("")
        (self.directory / "buffer_size_kb").write_text(str(_BUFFER_KB))
        (self.directory / "trace_clock").write_text("mono")
        for name in _ABOUT_PAGES:
            (self._events / f"{SYSTEM}_{name}" / "filter").write_text(page_filter(addresses))
        (self._events / "enable").write_text("1")

    def stop(self) -> list[RawEvent]:
        """Record no more, and return what was recorded, in the order of time."""
        (self._events / "enable").write_text("0")
        return parse((self.directory / "trace").read_text().splitlines())


@contextmanager
def instance(tracing: Path = TRACING) -> Iterator[Instance]:
    """Make an instance, and remove it at the end.

    Args:
        tracing: where tracefs is mounted.

    Raises:
        OSError: tracefs is not there, or the driver has no tracepoints in it.
    """
    # A fixed name: what a run left that was killed is taken over, not added to.
    directory = tracing / "instances" / "ksmlab-demo"
    directory.mkdir(exist_ok=True)
    try:
        yield Instance(directory)
    finally:
        directory.rmdir()


def now() -> float:
    """Return the time as events have it."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
