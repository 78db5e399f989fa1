"""Child processes for tests. Each runs a function, and exchanges values with the test.

Receiving a value has a time limit. The child is killed at the end of the with statement, even after an error.
"""

from __future__ import annotations

import ctypes
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
#: The most seconds until a killed child has ended. The kernel reports a task that hangs in the kernel earlier.
TO_DIE = 300.0
#: An option of prctl(2), from linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_fork = multiprocessing.get_context("fork")


class Child:
    """A forked process, and the connection to it."""

    def __init__(self, body: Callable[[Connection], None]) -> None:
        """Fork, and run ``body`` in the child."""
        self._here, there = _fork.Pipe()
        self._process = _fork.Process(target=body, args=(there,))
        self._process.start()
        there.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def receive(self, deadline: float = DEADLINE) -> Any:
        """Return the next value that the child sends.

        Args:
            deadline: The time limit in seconds.

        Raises:
            TimeoutError: The child sends nothing in time.
            EOFError: The child has ended.
        """
        if not self.speaks(deadline):
            raise TimeoutError(f"child {self.pid} sent nothing for {deadline} s: {self.plight()}")
        return self._here.recv()

    def speaks(self, deadline: float) -> bool:
        """Wait for at most `deadline` seconds, and return whether the child has sent a value or has ended."""
        return self._here.poll(deadline)

    def plight(self) -> str:
        """Describe the state of the child for an error message: its CPU time, and its stack in the kernel."""
        task = Path("/proc") / str(self.pid)
        ran, waited = proc.cpu_seconds(task)
        return (
            f"state {proc.state(task)}, {ran:.1f} s on a CPU and {waited:.1f} s waiting for one, "
            f"in the kernel at\n{task.joinpath('stack').read_text()}"
        )

    def send(self, value: object = None) -> None:
        """Send a value to the child."""
        self._here.send(value)

    def ask(self, value: object = None, deadline: float = DEADLINE) -> Any:
        """Send a value, and return the answer. Raises the errors of receive()."""
        self.send(value)
        return self.receive(deadline)

    def kill(self) -> None:
        """Kill the child with SIGKILL, and wait until it has ended."""
        if self._process.is_alive():
            os.kill(self.pid, signal.SIGKILL)
        self._process.join(TO_DIE)
        assert not self._process.is_alive(), f"child {self.pid} still runs after SIGKILL"

    def finish(self) -> int | None:
        """Wait until the child ends by itself, and return its exit status."""
        self._process.join(DEADLINE)
        return self._process.exitcode


def die_with_parent() -> None:
    """Let the kernel kill this process when the thread that has forked it ends.

    Raises:
        OSError: prctl(2) failed.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@contextmanager
def child(body: Callable[[Connection], None]) -> Iterator[Child]:
    """Run ``body`` in a child until the end of the with statement."""
    process = Child(body)
    try:
        yield process
    finally:
        process.kill()
