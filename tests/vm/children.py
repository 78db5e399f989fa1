"""Processes for tests: forked off, told what to do by function, heard by value.

A child runs one function with a connection to the test. What the test sends and receives has
a deadline, and the child is gone when the with statement ends, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import proc

from ksmlab.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

DEADLINE = patient(60.0)
#: Seconds to die in: a task that hangs in the kernel is reported by the kernel, and sooner.
TO_DIE = 300.0
_fork = multiprocessing.get_context("fork")


class Child:
    """A forked process and the connection to it."""

    def __init__(self, body: Callable[[Connection], None]) -> None:
        """Fork, and run ``body`` in the child."""
        self._here, there = _fork.Pipe()
        self._process = _fork.Process(target=body, args=(there,))
        self._process.start()
        there.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def receive(self, deadline: float = DEADLINE) -> Any:
        """Return the next value that it sends.

        Args:
            deadline: seconds from now.

        Raises:
            TimeoutError: it sends nothing in time.
            EOFError: it has ended.
        """
        if not self.speaks(deadline):
            raise TimeoutError(f"child {self.pid} said nothing for {deadline} s: {self.plight()}")
        return self._here.recv()

    def speaks(self, deadline: float) -> bool:
        """Wait until it has sent a value, or ended, and say whether it has; the deadline is in seconds from now."""
        return self._here.poll(deadline)

    def plight(self) -> str:
        """Say what it is at, for a person: whether it waits, and for what, or has got no CPU."""
        task = Path("/proc") / str(self.pid)
        ran, waited = proc.cpu_seconds(task)
        return (
            f"state {proc.state(task)}, {ran:.1f} s on a CPU and {waited:.1f} s waiting for one, "
            f"in the kernel at\n{task.joinpath('stack').read_text()}"
        )

    def send(self, value: object = None) -> None:
        """Send a value, and expect no answer."""
        self._here.send(value)

    def ask(self, value: object = None, deadline: float = DEADLINE) -> Any:
        """Send a value and return the answer; errors are those of receive()."""
        self.send(value)
        return self.receive(deadline)

    def kill(self) -> None:
        """End it by SIGKILL, and wait until it is gone."""
        if self._process.is_alive():
            os.kill(self.pid, signal.SIGKILL)
        self._process.join(TO_DIE)
        assert not self._process.is_alive(), f"child {self.pid} does not die"

    def finish(self) -> int | None:
        """Wait for its own end, and return its exit status."""
        self._process.join(DEADLINE)
        return self._process.exitcode


@contextmanager
def child(body: Callable[[Connection], None]) -> Iterator[Child]:
    """Run ``body`` in a child until the end of the with statement."""
    process = Child(body)
    try:
        yield process
    finally:
        process.kill()
