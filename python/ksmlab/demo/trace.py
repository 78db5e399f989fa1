"""Record events of the driver's tracepoints in a separate instance of tracefs, which does not disturb other tracing.

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
#: The events that are recorded only for some pages. They have a field with the address.
_ABOUT_PAGES = ("merge", "break")
#: The size of the buffer of each CPU, in KiB. The oldest events are lost if it is too small.
_BUFFER_KB = 2048
_LINE = re.compile(
    r"^\s*\S.*?\s\[\d+\]\s\S+\s+(?P<seconds>\d+\.\d+): devksm_(?P<name>\w+): (?P<text>.*)$"
)


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One line of a trace.

    Attributes:
        at: The time in seconds of CLOCK_MONOTONIC.
        name: The name of the event, without the prefix "devksm_".
        text: The fields of the event.
    """

    at: float
    name: str
    text: str

    def number(self, field: str) -> int:
        """Return the value of a numeric field; 0 if there is no such field."""
        found = re.search(rf"\b{field}=(0x[0-9a-f]+|\d+)", self.text)
        return int(found[1], 0) if found else 0

    def word(self, field: str) -> str:
        """Return a field as text; "" if there is no such field."""
        found = re.search(rf"\b{field}=(\S+)", self.text)
        return found[1] if found else ""


def parse(lines: Iterable[str]) -> list[RawEvent]:
    """Parse the lines of a trace file. Comments and events of other systems are skipped."""
    found = (_LINE.match(line) for line in lines)
    return [RawEvent(float(one["seconds"]), one["name"], one["text"]) for one in found if one]


def page_filter(addresses: Iterable[int]) -> str:
    """Return a filter for events about some pages. Adjacent pages become one range.

    Args:
        addresses: The page-aligned addresses of the pages.
    """
    runs: list[list[int]] = []
    for address in sorted(set(addresses)):
        if runs and address == runs[-1][1] + PAGE_SIZE:
            runs[-1][1] = address
        else:
            runs.append([address, address])
    return " || ".join(f"(addr >= {low:#x} && addr <= {high:#x})" for low, high in runs)


class Instance:
    """An instance of tracefs that records the driver's events.

    Args:
        directory: The directory of the instance, which must exist.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def _events(self) -> Path:
        return self.directory / "events" / SYSTEM

    def start(self, addresses: Sequence[int]) -> None:
        """Start to record events. Merge and break events are recorded only for some pages.

        Args:
            addresses: The addresses of these pages.
        """
        (self.directory / "trace").write_text("")
        (self.directory / "buffer_size_kb").write_text(str(_BUFFER_KB))
        (self.directory / "trace_clock").write_text("mono")
        for name in _ABOUT_PAGES:
            (self._events / f"{SYSTEM}_{name}" / "filter").write_text(page_filter(addresses))
        (self._events / "enable").write_text("1")

    def stop(self) -> list[RawEvent]:
        """Stop recording, and return the recorded events in the order of time."""
        (self._events / "enable").write_text("0")
        return parse((self.directory / "trace").read_text().splitlines())


@contextmanager
def instance(tracing: Path = TRACING) -> Iterator[Instance]:
    """Create an instance for the block, and remove it at the end.

    Args:
        tracing: The mount point of tracefs.

    Raises:
        OSError: tracefs is not mounted there.
    """
    # The name is fixed, so that the instance of an earlier run that was killed is used again.
    directory = tracing / "instances" / "ksmlab-demo"
    directory.mkdir(exist_ok=True)
    try:
        yield Instance(directory)
    finally:
        directory.rmdir()


def now() -> float:
    """Return the current time on the clock of the events, in seconds."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
