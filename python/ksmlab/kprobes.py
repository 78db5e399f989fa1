"""Record calls of kernel functions, with arguments and times, by kprobe events.

The events are recorded in a separate instance of tracefs, which does not disturb other tracing.
Source: Documentation/trace/kprobetrace.rst.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ksmlab.closing import Closing

TRACING = Path("/sys/kernel/tracing")
GROUP = "ksmlab"
_LINE = re.compile(
    r"^\s*\S.*?\s\[\d+\]\s\S+\s+(?P<seconds>\d+\.\d+): (?P<name>\w+): \(.*?\)(?P<arguments>.*)$",
    re.MULTILINE,
)
_ARGUMENT = re.compile(r"(\w+)=(0x[0-9a-f]+|-?\d+)")
_ENTRIES = re.compile(r"^# entries-in-buffer/entries-written: (\d+)/(\d+)", re.MULTILINE)


class KprobesError(RuntimeError):
    """The trace buffer was too small for all events."""


@dataclass(frozen=True)
class Probe:
    """A function to probe.

    Attributes:
        name: The name of the event.
        function: The name of the function, with the prefix ``MODULE:`` if it is in a module.
        arguments: The arguments to record, for example ``start=%si`` for the second argument on x86-64.
        filter: An event filter for the calls to record; empty for all calls.
    """

    name: str
    function: str
    arguments: str = ""
    filter: str = ""


@dataclass(frozen=True)
class Call:
    """One recorded call.

    Attributes:
        at: The time in seconds since boot.
        name: The name of the probe.
        arguments: The recorded arguments, by name.
    """

    at: float
    name: str
    arguments: dict[str, int]


def parse(trace: str) -> list[Call]:
    """Return the calls in the text of a trace file.

    Raises:
        KprobesError: Events are missing, because the buffer was too small.
    """
    if (entries := _ENTRIES.search(trace)) and entries[1] != entries[2]:
        raise KprobesError(
            f"the trace buffer was too small: it has only {entries[1]} of {entries[2]} events. "
            "Record fewer calls, or write a larger number to buffer_size_kb"
        )
    return [
        Call(
            float(found["seconds"]),
            found["name"],
            {name: int(value, 0) for name, value in _ARGUMENT.findall(found["arguments"])},
        )
        for found in _LINE.finditer(trace)
    ]


class Kprobes(Closing):
    """Probes that record calls until they are closed.

    Args:
        probes: The probes. Their names must be different.
        tracing: The mount point of tracefs.

    Raises:
        OSError: The kernel refuses a probe, for example because it has no such function.
    """

    def __init__(self, *probes: Probe, tracing: Path = TRACING) -> None:
        """Set the probes."""
        self._probes: list[Probe] = []
        self._definitions = tracing / "kprobe_events"
        self._instance = tracing / "instances" / GROUP
        self._instance.mkdir()
        try:
            for probe in probes:
                self._set(probe)
        except BaseException:
            self.close()
            raise

    def _set(self, probe: Probe) -> None:
        self._define(f"p:{GROUP}/{probe.name} {probe.function} {probe.arguments}")
        self._probes.append(probe)
        event = self._instance / "events" / GROUP / probe.name
        if probe.filter:
            (event / "filter").write_text(probe.filter)
        (event / "enable").write_text("1")

    def _define(self, line: str) -> None:
        # Append to the file, since truncating it would remove all probes.
        descriptor = os.open(self._definitions, os.O_WRONLY | os.O_APPEND)
        with os.fdopen(descriptor, "wb") as definitions:
            definitions.write(f"{line}\n".encode())

    def calls(self) -> list[Call]:
        """Return the calls recorded so far, in order.

        Raises:
            KprobesError: Calls are missing, because the buffer was too small.
        """
        return parse((self._instance / "trace").read_text())

    def close(self) -> None:
        """Remove the probes and the records."""
        # Remove the instance first, which disables its events. An enabled probe cannot be removed.
        self._instance.rmdir()
        for probe in self._probes:
            self._define(f"-:{GROUP}/{probe.name}")
        self._probes = []
