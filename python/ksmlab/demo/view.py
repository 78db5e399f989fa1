"""Show the demonstration: its steps, live counters, and the result of each check.

PlainView prints lines. RichView, in another module, draws on a terminal. That module is imported only when it is used,
since the import takes seconds on a slow file system.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from ksmlab.sysfs import Counters

#: Seconds between two lines of counters.
LINE_EVERY = 1.0


class View(Protocol):
    """An output of the demonstration."""

    def title(self, text: str) -> None:
        """Show the title of the demonstration."""

    def step(self, text: str) -> None:
        """Show the step that starts now."""

    def note(self, text: str) -> None:
        """Show an explanation."""

    def check(self, name: str, found: str) -> None:
        """Show a check that has passed, and the value that was found."""

    def failure(self, text: str) -> None:
        """Show the reason of a failure."""

    def verdict(self, text: str) -> None:
        """Show the result of the demonstration."""

    def counters(self, counters: Counters, goal: int, seconds: float) -> None:
        """Show the driver's counters during a wait.

        Args:
            counters: The driver's counters.
            goal: The value of pages_shared at the end of the wait.
            seconds: The seconds since the start of the wait.
        """

    def counters_done(self) -> None:
        """End a wait. The last values of the counters remain visible."""


def reasons(counters: Counters) -> str:
    """Return the reasons why pages were skipped, with the numbers of pages, in descending order."""
    some = [(count, name) for name, count in counters.skipped.items() if count]
    return ", ".join(f"{name} {count:,}" for count, name in sorted(some, reverse=True)) or "none"


class PlainView:
    """A view that prints lines of text, for a log or a pipe.

    Args:
        out: The file to print to.
    """

    def __init__(self, out: TextIO) -> None:
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
        """Print an indented line that begins with "ok"."""
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
        """Print the last values of the counters, unless they have been printed."""
        if self._unshown is not None:
            self._line(self._unshown)
        self._last_line = float("-inf")


class Forward:
    """A base class of views that pass all calls on to another view.

    Args:
        view: The other view.
    """

    def __init__(self, view: View) -> None:
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
