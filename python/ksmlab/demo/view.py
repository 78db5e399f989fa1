"""What the demonstration shows: steps, live counters, and the result of each check.

PlainView prints lines; RichView draws on a terminal, and takes seconds to import over a slow
file system, so that it is only imported where it is used.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from ksmlab.sysfs import Counters

#: Seconds between two lines of counters.
LINE_EVERY = 1.0


class View(Protocol):
    """Somewhere to show the demonstration; every call is one thing to see."""

    def title(self, text: str) -> None:
        """Say what this is."""

    def step(self, text: str) -> None:
        """Say what is done now."""

    def note(self, text: str) -> None:
        """Explain something."""

    def check(self, name: str, found: str) -> None:
        """Show a check that passed, and what it found."""

    def failure(self, text: str) -> None:
        """Show what went wrong."""

    def verdict(self, text: str) -> None:
        """Show the result of it all."""

    def counters(self, counters: Counters, goal: int, seconds: float) -> None:
        """Show the counters while something is waited for.

        Args:
            counters: the driver's.
            goal: what pages_shared will be at the end of the wait.
            seconds: since the wait began.
        """

    def counters_done(self) -> None:
        """End a wait: what counters() showed last stays on show."""


def reasons(counters: Counters) -> str:
    """Return the reasons why pages were left alone, with their numbers, most first."""
    some = [(count, name) for name, count in counters.skipped.items() if count]
    return ", ".join(f"{name} {count:,}" for count, name in sorted(some, reverse=True)) or "none"


class PlainView:
    """Lines of text, for a log or a pipe."""

    def __init__(self, out: TextIO) -> None:
        """Print to ``out``."""
        self._out = out
        self._start = time.monotonic()
        self._last_line = float("-inf")
        self._unshown: Counters | None = None

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def title(self, text: str) -> None:
        """Print a heading."""
        self._print(f"== {text}")

    def step(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        self._print(f"{time.monotonic() - self._start:5.1f} s  {text} ...")

    def note(self, text: str) -> None:
        """Print an indented line."""
        self._print(f"         {text}")

    def check(self, name: str, found: str) -> None:
        """Print an indented line that starts with ok."""
        self._print(f"     ok  {name}: {found}")

    def failure(self, text: str) -> None:
        """Print an error."""
        self._print(f"FAILED  {text}")

    def verdict(self, text: str) -> None:
        """Print the last line."""
        self._print(f"== {text} ({time.monotonic() - self._start:.1f} s)")

    def counters(self, counters: Counters, goal: int, seconds: float) -> None:
        """Print a line, at most one a second."""
        self._unshown = counters
        if seconds - self._last_line >= LINE_EVERY or seconds < self._last_line:
            self._last_line = seconds
            self._line(counters, goal)

    def _line(self, counters: Counters, goal: int = 0) -> None:
        self._unshown = None
        self._print(
            f"         pages_shared {counters.pages_shared:,}{f'/{goal:,}' if goal else ''}  "
            f"kernel_pages {counters.kernel_pages_allocated:,}  scans {counters.full_scans}  "
            f"volatile {counters.pages_volatile:,}  skipped: {reasons(counters)}"
        )

    def counters_done(self) -> None:
        """Print the last values, if they are not there yet."""
        if self._unshown is not None:
            self._line(self._unshown)
        self._last_line = float("-inf")


class Forward:
    """A view that passes everything on to another; for those who want to hear of it on the way."""

    def __init__(self, view: View) -> None:
        """Pass on to ``view``."""
        self._view = view

    def title(self, text: str) -> None:
        """Pass it on."""
        self._view.title(text)

    def step(self, text: str) -> None:
        """Pass it on."""
        self._view.step(text)

    def note(self, text: str) -> None:
        """Pass it on."""
        self._view.note(text)

    def check(self, name: str, found: str) -> None:
        """Pass it on."""
        self._view.check(name, found)

    def failure(self, text: str) -> None:
        """Pass it on."""
        self._view.failure(text)

    def verdict(self, text: str) -> None:
        """Pass it on."""
        self._view.verdict(text)

    def counters(self, counters: Counters, goal: int, seconds: float) -> None:
        """Pass it on."""
        self._view.counters(counters, goal, seconds)

    def counters_done(self) -> None:
        """Pass it on."""
        self._view.counters_done()
