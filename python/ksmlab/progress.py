"""Show the progress of a command: a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.status import Status

SHORT_SECONDS = 0.5


class Progress:
    """Shows the steps of a command, each with its duration when it is done.

    Args:
        console: The console to write to. The default is standard error, so that it does not mix with a command's
            output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._status: Status | None = None

    def say(self, line: str) -> None:
        """Print a line; on a terminal, above the spinner."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def note(self, line: str) -> None:
        """Show a detail of the current step: in the spinner on a terminal, as a line elsewhere."""
        if self._status is not None:
            self._status.update(line)
        else:
            self.say(line)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show a step during the block, and its duration afterwards."""
        start = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(name) as status:
                self._status = status
                try:
                    yield
                finally:
                    self._status = None
        else:
            self.say(f"{name} ...")
            yield
        seconds = time.monotonic() - start
        if self.console.is_terminal or seconds > SHORT_SECONDS:
            self.say(f"{name}: done in {seconds:.1f} s")
