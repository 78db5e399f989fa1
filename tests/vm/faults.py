"""Let the n-th allocation of a task fail, for each n, and check the consequences.

The kernel decrements the number in a task's fail-nth at each of its allocations, and the allocation that decrements it
to zero fails. If the number is not zero afterwards, no allocation has failed. Then all allocations of the task have
been tested, and a walk ends.

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
#: More allocations than any tested action makes. A walk that reaches this number would not end.
MOST = 20_000
#: The settings of both kinds of fault injection, with which all allocations are counted. With verbose 1, the kernel
#: logs one line for each failure.
SETTINGS = {
    "failslab/ignore-gfp-wait": "N",
    "fail_page_alloc/ignore-gfp-wait": "N",
    "fail_page_alloc/ignore-gfp-highmem": "N",
    "fail_page_alloc/min-order": "0",
    "failslab/verbose": "1",
    "fail_page_alloc/verbose": "1",
}
KINDS = ("failslab", "fail_page_alloc")
#: If kmemleak has no memory for its metadata, it prints a warning while it holds a lock under which the console frees
#: memory (kmemleak_scan_area() in mm/kmemleak.c, 6.1). lockdep reports that as a deadlock, and then turns itself off.
#: So this setting lets only emergencies reach the console. The log has all messages, and an oops restores the level.
QUIET = {Path("/proc/sys/kernel/printk"): "1"}


def enable() -> Iterator[None]:
    """Enable fault injection for GFP_KERNEL allocations of all sizes. This is a generator for a fixture.

    The test is skipped if the kernel cannot inject faults.
    """
    needed = [*(DEBUGFS / kind for kind in KINDS), Path("/proc/self/fail-nth")]
    options = ("CONFIG_FAULT_INJECTION_DEBUG_FS", "CONFIG_FAILSLAB", "CONFIG_FAIL_PAGE_ALLOC")
    need("fault injection", all(path.exists() for path in needed), *options)
    quiet = QUIET if kmemleak_wanted() else {}
    with written({DEBUGFS / name: value for name, value in SETTINGS.items()} | quiet):
        yield


class FailNth:
    """The file fail-nth of a task."""

    def __init__(self, tid: int | None = None) -> None:
        """Open the file now, since opening it allocates memory.

        Args:
            tid: The thread ID of the task, which may be a kernel thread; None for the calling thread.
        """
        where = "thread-self" if tid is None else f"{tid}/task/{tid}"
        self._fd = os.open(f"/proc/{where}/fail-nth", os.O_RDWR | os.O_CLOEXEC)

    def arm(self, nth: int) -> None:
        """Let the task's nth allocation from now on fail; none if `nth` is 0."""
        os.pwrite(self._fd, b"%d" % nth, 0)

    def left(self) -> int:
        """Return the number of allocations up to the one that fails."""
        return int(os.pread(self._fd, 16, 0))

    def disarm(self) -> bool:
        """Let no allocation fail from now on, and return whether one has failed since arm()."""
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
    """The result of an action in which one allocation failed.

    Attributes:
        nth: The number of the allocation.
        hit: Whether an allocation failed, which is not the case in the last trial of a walk.
        value: The return value of the action.
        error: The error that the action raised; None if it raised none.
    """

    nth: int
    hit: bool
    value: T | None
    error: OSError | None

    @property
    def errno(self) -> int:
        """The errno of the error; 0 if there is none."""
        return 0 if self.error is None else self.error.errno or 0


def attempt(task: FailNth, nth: int, action: Callable[[], T]) -> Trial[T]:
    """Run an action in which the nth allocation of a task fails."""
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
    """Run an action repeatedly. Each time, a later allocation fails, until none fails any more.

    The caller checks each trial, and restores the state in which the action can be run again.

    Args:
        action: The action. If it raises an OSError, that is part of the trial.
        task: The task whose allocations fail; by default the calling thread.
        first: The number of the first allocation to fail.
    """
    with task or FailNth() as armed:
        for nth in itertools.count(first):
            assert nth < MOST, f"the walk does not end: the action makes over {MOST} allocations"
            trial = attempt(armed, nth, action)
            yield trial
            if not trial.hit:
                assert trial.error is None, (
                    f"no allocation failed, but the action raised an error: {trial.error}"
                )
                return


@contextmanager
def random_failures(tid: int, percent: int) -> Iterator[None]:
    """Let random allocations of one task fail during the block.

    Args:
        tid: The thread ID of the task.
        percent: The percentage of allocations that fail.
    """
    # Set the filter first and reset it last, since without it, allocations of all tasks fail.
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
    """Load a module from an open file, in the calling task itself."""
    _syscall("finit_module", _FINIT_MODULE, fd, parameters, 0)


def delete_module(name: bytes) -> None:
    """Unload a module, in the calling task itself."""
    _syscall("delete_module", _DELETE_MODULE, name, os.O_NONBLOCK)
