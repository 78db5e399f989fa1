"""The kernel's tracers of the longest section that keeps other tasks from the CPU.

Source: Documentation/trace/ftrace.rst, "irqsoff" and "preemptoff".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ksmlab.closing import Closing

DIRECTORY = Path("/sys/kernel/tracing")
#: What is off during the section: preemption, or interrupts.
TRACERS = ("preemptoff", "irqsoff")
_LATENCY = re.compile(r"^# latency: (\d+) us,", re.MULTILINE)
_TASK = re.compile(r"^#\s+\| task: (.+)-\d+ \(", re.MULTILINE)
_END = re.compile(r"^#\s+=> (?:started|ended) at:\s+(\S+)", re.MULTILINE)


class TracerError(RuntimeError):
    """A kernel has no such tracer; the text says what to do next."""


@dataclass(frozen=True)
class Section:
    """A section during which no other task could get the CPU.

    Attributes:
        us: Its length in microseconds.
        task: The task that ran; an interrupt counts as the task that it interrupted.
        started: The function that it began in.
        ended: The function that it ended in.
    """

    us: int
    task: str
    started: str
    ended: str

    def __str__(self) -> str:
        """Say whose it was, and where in the kernel."""
        where = self.started if self.started == self.ended else f"{self.started} to {self.ended}"
        return f"{self.task} in {where}"


def parse(trace: str) -> Section | None:
    """Read the header of a trace; None if no section has been recorded yet."""
    latency, task, ends = _LATENCY.search(trace), _TASK.search(trace), _END.findall(trace)
    if latency is None or task is None or len(ends) != 2:  # noqa: PLR2004
        return None
    return Section(int(latency[1]), task[1], *ends)


class Tracer(Closing):
    """A tracer, at work until it is closed.

    It records no function calls, which would be what takes longest.

    Args:
        name: One of TRACERS.
        directory: Where tracefs is mounted.

    Raises:
        TracerError: The kernel has it not.
    """

    def __init__(self, name: str, directory: Path = DIRECTORY) -> None:
        """Start it."""
        self._directory = directory
        if name not in (directory / "available_tracers").read_text().split():
            raise TracerError(
                f"this kernel has no tracer {name}. Nothing is changed. Next: boot latency-6.12"
            )

        option = directory / "options/function-trace"
        if option.exists():
            option.write_text("0")
        (directory / "current_tracer").write_text(name)
        (directory / "tracing_on").write_text("1")
        self._reset()

    def close(self) -> None:
        """Stop it."""
        (self._directory / "current_tracer").write_text("nop")

    def _reset(self) -> None:
        (self._directory / "tracing_max_latency").write_text("0")

    def take(self) -> Section | None:
        """Return the longest section since the last call, or None if there was none, and reset the tracer."""
        found = parse((self._directory / "trace").read_text())
        self._reset()
        return found
