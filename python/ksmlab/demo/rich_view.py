"""Show the demonstration on a terminal, with colours."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ksmlab.demo.view import reasons

if TYPE_CHECKING:
    from ksmlab.sysfs import Counters

WIDTH = 80
#: Columns before the text of a line: the seconds of a step, or the mark of a check.
_LEAD = 9
#: Columns of the counters: the names, the numbers, and the bar. The narrow ones are for a terminal that lacks the room.
_WIDE, _NARROW = (30, 11, 26), (22, 7, 21)
#: Seconds between two drawings; drawing costs time that kksmd could use.
DRAW_EVERY = 0.25


class RichView:
    """A view with colours, which updates the counters in place."""

    def __init__(self, *, force: bool = False) -> None:
        """Draw on standard output.

        Args:
            force: Use colours even if standard output is not a terminal.
        """
        self._console = Console(force_terminal=force or None, highlight=False)
        self._width = min(self._console.width, WIDTH)
        self._start = time.monotonic()
        self._live: Live | None = None
        self._drawn = 0.0
        self._unshown: Table | None = None

    def _print(self, lead: str, text: str) -> None:
        """Print a line, and indent the rest of a text that is longer than a line."""
        line = Table.grid()
        line.add_column(width=_LEAD)
        line.add_column()
        line.add_row(lead, text)
        self._console.print(line, width=self._width)

    def title(self, text: str) -> None:
        """Draw a heading in a box."""
        self._console.print(Panel(Text(text, style="bold"), width=self._width))

    def step(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        self._print(f"[dim]{time.monotonic() - self._start:5.1f} s[/]", f"[bold]{escape(text)}[/]")

    def note(self, text: str) -> None:
        """Print a dim line."""
        self._print("", f"[dim]{escape(text)}[/]")

    def check(self, name: str, found: str) -> None:
        """Print a line with a green mark."""
        self._print("      [green]✓[/]", f"{escape(name)}: [cyan]{escape(found)}[/]")

    def failure(self, text: str) -> None:
        """Draw an error in a red box."""
        self._console.print(Panel(Text(text), title="failed", style="red", width=self._width))

    def verdict(self, text: str) -> None:
        """Draw the last line in a green box."""
        whole = f"{text} ({time.monotonic() - self._start:.1f} s)"
        self._console.print(Panel(Text(whole, style="bold green"), width=self._width))

    def counters(self, counters: Counters, goal: int, seconds: float) -> None:
        """Draw the counters in place."""
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
            self._drawn = float("-inf")
        self._unshown = self._table(counters, goal, seconds)
        if seconds - self._drawn >= DRAW_EVERY:
            self._drawn = seconds
            self._live.update(self._unshown, refresh=True)

    def counters_done(self) -> None:
        """Draw the last values of the counters, and leave them on the screen."""
        if self._live is not None:
            if self._unshown is not None:
                self._live.update(self._unshown, refresh=True)
            self._live.stop()
            self._live = None

    def _table(self, counters: Counters, goal: int, seconds: float) -> Table:
        # One blank follows each column except the last.
        name, number, length = _WIDE if self._width >= sum(_WIDE) + 2 else _NARROW
        bar = ProgressBar(total=max(goal, 1), completed=counters.pages_shared, width=length)
        rows = Table.grid(padding=(0, 1))
        rows.add_column(width=name, justify="right", style="dim")
        rows.add_column(width=number, justify="right", style="cyan")
        rows.add_column()
        rows.add_row("pages_shared", f"{counters.pages_shared:,}", bar)
        rows.add_row(
            "kernel_pages_allocated",
            f"{counters.kernel_pages_allocated:,}",
            f"[dim]{seconds:.1f} s[/]",
        )
        rows.add_row("full_scans", f"{counters.full_scans:,}", "")
        rows.add_row("pages_volatile", f"{counters.pages_volatile:,}", "")
        left_alone = sum(counters.skipped.values())
        rows.add_row("skipped", f"{left_alone:,}", f"[dim]{reasons(counters)}[/]")
        return rows
