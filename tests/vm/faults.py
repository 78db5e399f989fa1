"""Make the n-th allocation of one task fail, for every n, and see what comes of it.

The kernel counts for us: a number in a task's fail-nth goes down with each of its allocations, and
the one that takes it to zero fails. What is left afterwards tells whether one has failed at all, so
a walk ends by itself, when there is no allocation left to fail.

Source: Documentation/fault-injection/fault-injection.rst, lib/fault-inject.c, fs/proc/base.c.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from kernel_config import need
from written import written

from ksmlab.pytest_plugin.watch import kmemleak_wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

T = TypeVar("T")

DEBUGFS = Path("/sys/kernel/debug")
#: Nothing that is tested here allocates more often. A walk that gets so far does not end.
MOST = 20_000
#: The attributes of both kinds, so that every allocation counts. verbose 1 is a line for each.
SETTINGS = {
    "failslab/ignore-gfp-wait": "N",
    "fail_page_alloc/ignore-gfp-wait": "N",
    "fail_page_alloc/ignore-gfp-highmem": "N",
    "fail_page_alloc/min-order": "0",
    "failslab/verbose": "1",
    "fail_page_alloc/verbose": "1",
}
KINDS = ("failslab", "fail_page_alloc")
#: When kmemleak lacks memory for its metadata, it prints a warning while it holds a lock under which the console frees
#: memory (mm/kmemleak.c, kmemleak_scan_area(), 6.1). lockdep reports that as a deadlock, and then turns itself off. So
#: only emergencies reach the console meanwhile. The log has everything, and an oops raises the console's level again.
QUIET = {Path("/proc/sys/kernel/printk"): "1"}


def enable() -> Iterator[None]:
    """Have GFP_KERNEL allocations of every size count; a generator for a fixture.

    Skips the test where the kernel cannot inject faults.
    """
    needed = [*(DEBUGFS / kind for kind in KINDS), Path("/proc/self/fail-nth")]
    options = ("CONFIG_FAULT_INJECTION_DEBUG_FS", "CONFIG_FAILSLAB", "CONFIG_FAIL_PAGE_ALLOC")
    need("fault injection", all(path.exists() for path in needed), *options)
    quiet = QUIET if kmemleak_wanted() else {}
    with written({DEBUGFS / name: value for name, value in SETTINGS.items()} | quiet):
        yield


class FailNth:
    """fail-nth of one task."""

    def __init__(self, tid: int | None = None) -> None:
        """Open it, ahead of time: opening is an allocation itself.

        Args:
            tid: the task, which may be another's or a kernel thread; None is the calling thread.
        """
        where = "thread-self" if tid is None else f"{tid}/task/{tid}"
        self._fd = os.open(f"/proc/{where}/fail-nth", os.O_RDWR | os.O_CLOEXEC)

    def arm(self, nth: int) -> None:
        """Have its nth allocation from now on fail; 0 is none."""
        os.pwrite(self._fd, b"%d" % nth, 0)

    def left(self) -> int:
        """Return how many allocations there are still to come before the one that fails."""
        return int(os.pread(self._fd, 16, 0))

    def disarm(self) -> bool:
        """Have none fail, and return whether one has failed since arm()."""
        left = self.left()
        self.arm(0)
        return not left

    def close(self) -> None:
        self.disarm()
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Trial(Generic[T]):
    """What came of one failed allocation.

    Attributes:
        nth: Which allocation it was.
        hit: Whether there was one; the last trial of a walk has none.
        value: What the action returned.
        error: Or the error that it raised.
    """

    nth: int
    hit: bool
    value: T | None
    error: OSError | None

    @property
    def errno(self) -> int:
        """The errno of the error, 0 for success."""
        return 0 if self.error is None else self.error.errno or 0


def attempt(task: FailNth, nth: int, action: Callable[[], T]) -> Trial[T]:
    """Run an action while the nth allocation of a task fails."""
    error = value = None
    task.arm(nth)
    try:
        value = action()
    except OSError as caught:
        error = caught
    hit = task.disarm()
    return Trial(nth, hit, value, error)


def walk(
    action: Callable[[], T], task: FailNth | None = None, first: int = 1
) -> Iterator[Trial[T]]:
    """Run an action again and again, one allocation later failing each time, until none fails.

    The caller looks at each trial, and brings everything back to where the action begins.

    Args:
        action: what is tried; an OSError of it is part of the trial.
        task: whose allocations fail; this thread's if not given.
        first: the allocation to begin with.
    """
    with task or FailNth() as armed:
        for nth in itertools.count(first):
            assert nth < MOST, "the walk does not end: something allocates without end"
            trial = attempt(armed, nth, action)
            yield trial
            if not trial.hit:
                assert trial.error is None, f"nothing failed, and yet: {trial.error}"
                return


@contextmanager
def random_failures(tid: int, percent: int) -> Iterator[None]:
    """Make allocations of one task, and of no other, fail at random.

    Args:
        tid: the task.
        percent: the share of allocations that fail.
    """
    # The filter is set first and reset last: without it, allocations of every task fail.
    chance = {
        "task-filter": "Y",
        "verbose": "0",
        "interval": "1",
        "times": "-1",
        "probability": str(percent),
    }
    values = {DEBUGFS / kind / name: value for kind in KINDS for name, value in chance.items()}
    with written({Path(f"/proc/{tid}/make-it-fail"): "1"}), written(values):
        yield


_libc = ctypes.CDLL(None, use_errno=True)
_FINIT_MODULE, _DELETE_MODULE = 313, 176


def _syscall(what: str, *arguments: object) -> None:
    if _libc.syscall(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def finit_module(fd: int, parameters: bytes) -> None:
    """Load a module from an open file, in this very task."""
    _syscall("finit_module", _FINIT_MODULE, fd, parameters, 0)


def delete_module(name: bytes) -> None:
    """Unload a module, in this very task."""
    _syscall("delete_module", _DELETE_MODULE, name, os.O_NONBLOCK)
