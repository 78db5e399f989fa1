"""Use the kernel's tracers of the longest section with preemption or interrupts disabled.

Source: Documentation/trace/ftrace.rst, "irqsoff" and "preemptoff".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ksmlab.closing import Closing

DIRECTORY = Path("/sys/kernel/tracing")
#: The tracers of sections with preemption disabled, and with interrupts disabled.
TRACERS = ("preemptoff", "irqsoff")
_LATENCY = re.compile(r"^# latency: (\d+) us,", re.MULTILINE)
_TASK = re.compile(r"^#\s+\| task: (.+)-\d+ \(", re.MULTILINE)
_END = re.compile(r"^#\s+=> (?:started|ended) at:\s+(\S+)", re.MULTILINE)


class TracerError(RuntimeError):
    """Tracing is not possible; the text says what to do next."""


@dataclass(frozen=True)
class Section:
    """A section with preemption or interrupts disabled, during which no other task could run on the CPU.

    Attributes:
        us: Its length in microseconds.
        task: The task that ran. An interrupt counts as the task that it interrupted.
        started: The function in which it started.
        ended: The function in which it ended.
    """

    us: int
    task: str
    started: str
    ended: str

    def __str__(self) -> str:
        """Return the task and the functions."""
        where = self.started if self.started == self.ended else f"{self.started} to {self.ended}"
        return f"{self.task} in {where}"


def parse(trace: str) -> Section | None:
    """Parse the header of a trace; return None if no section has been recorded yet."""
    latency, task, ends = _LATENCY.search(trace), _TASK.search(trace), _END.findall(trace)
    if latency is None or task is None or len(ends) != 2:  # noqa: PLR2004
        return None
    return Section(int(latency[1]), task[1], *ends)


class Tracer(Closing):
    """A tracer, which is active until it is closed.

    It does not record function calls, since that would make the sections much longer.

    Args:
        name: One of TRACERS.
        directory: The mount point of tracefs.

    Raises:
        TracerError: The kernel does not have this tracer.
    """

    def __init__(self, name: str, directory: Path = DIRECTORY) -> None:
        """Start the tracer."""
        self._directory = directory
        if name not in (directory / "available_tracers").read_text().split():
            raise TracerError(
                f"this kernel does not have the tracer {name}. Nothing was changed. "
                "Next: use the kernel latency-6.12"
            )

        option = directory / "options/function-trace"
        if option.exists():
            option.write_text("0")
        (directory / "current_tracer").write_text(name)
        (directory / "tracing_on").write_text("1")
        self._reset()

    def close(self) -> None:
        """Stop the tracer."""
        (self._directory / "current_tracer").write_text("nop")

    def _reset(self) -> None:
        (self._directory / "tracing_max_latency").write_text("0")

    def take(self) -> Section | None:
        """Return the longest section since the last call, or None if there was none, and reset the tracer."""
        found = parse((self._directory / "trace").read_text())
        self._reset()
        return found
