"""Who wants to know how far the demonstration is, besides whoever looks at the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ksmlab.demo.worker import Worker


class Watcher(Protocol):
    """Somebody who is told how far the demonstration is."""

    def filled(self, workers: Sequence[Worker]) -> None:
        """The processes have filled their memory, and nothing is registered yet."""

    def moment(self, title: str, *, after_write: bool = False) -> None:
        """Everything is as ``title`` says."""


class NoWatcher:
    """Somebody who does not care."""

    def filled(self, workers: Sequence[Worker]) -> None:
        """Do nothing."""

    def moment(self, title: str, *, after_write: bool = False) -> None:
        """Do nothing."""
