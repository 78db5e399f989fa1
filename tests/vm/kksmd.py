"""Observe and control kksmd: its CPU time, its state, and single batches of its scan."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import proc

from ksmlab.bench import engines

if TYPE_CHECKING:
    from ksmlab.sysfs import KsmSysfs

#: A sleep time, in microseconds, that is longer than any test. Writing another sleep time wakes kksmd.
LONG = 0xFFFFFFF0
SECONDS = 60.0


def tid(name: str = "kksmd") -> int:
    """Return the thread ID of kksmd or of another scanner."""
    return engines.thread_id(name)


def find(name: str = "kksmd") -> Path:
    """Return the directory in /proc of kksmd or of another scanner."""
    return Path("/proc") / str(tid(name))


def runtime(name: str = "kksmd") -> float:
    """Return the CPU time, in seconds, of kksmd or of another scanner."""
    return proc.cpu_seconds(find(name))[0]


def finds_by_hash() -> bool:
    """Return whether the driver was loaded with the hash index."""
    return Path("/sys/module/ksm/parameters/index").read_text() == "hash\n"


def asleep(thread: Path) -> bool:
    """Return whether a thread sleeps, rather than being about to sleep.

    A thread sets its state to sleeping (S) before it checks for the last time whether it has to sleep. wchan is not 0
    only after the thread has left the CPU.
    """
    return thread.joinpath("wchan").read_text() != "0" and proc.state(thread) == "S"


def one_batch(scanning: KsmSysfs) -> None:
    """Let kksmd, whose sleep time is LONG, scan one batch, and wait until it sleeps again."""
    thread = find()
    scanning.wait_until(lambda _: asleep(thread), SECONDS, "kksmd to sleep")
    scanning.sleep = LONG + (scanning.sleep == LONG)
    scanning.wait_until(lambda _: asleep(thread), SECONDS, "kksmd to sleep again")


def pass_takes(scanning: KsmSysfs, seconds: float) -> bool:
    """Return whether a pass takes at least `seconds`.

    A pass ends early if the mmap lock is contended, and the next pass is then incomplete as well. So it is enough if
    one of twenty measurements takes this time.
    """
    for _ in range(20):
        passes, began = scanning.full_scans, time.monotonic()
        scanning.wait_full_scans(1)
        took = time.monotonic() - began
        if took / (scanning.full_scans - passes) >= seconds:
            return True
    return False
