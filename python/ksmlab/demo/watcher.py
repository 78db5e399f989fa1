"""Observers of the demonstration's progress, in addition to the view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ksmlab.demo.worker import Worker


class Watcher(Protocol):
    """An observer that is notified of each stage of the demonstration."""

    def filled(self, workers: Sequence[Worker]) -> None:
        """Handle the first stage: the processes have filled their memory, and have registered nothing yet."""

    def moment(self, title: str, *, after_write: bool = False) -> None:
        """Handle a later stage: the memory is now in the state that `title` names."""


class NoWatcher:
    """An observer that ignores every stage."""

    def filled(self, workers: Sequence[Worker]) -> None:
        """Do nothing."""

    def moment(self, title: str, *, after_write: bool = False) -> None:
        """Do nothing."""
