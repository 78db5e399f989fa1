"""kksmd itself: what it has used, and how to have it scan one batch and stand still."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import proc

from ksmlab.bench import engines

if TYPE_CHECKING:
    from ksmlab.sysfs import KsmSysfs

#: Microseconds that no test lives to see the end of; one less or more makes kksmd look again.
LONG = 0xFFFFFFF0
SECONDS = 60.0


def tid(name: str = "kksmd") -> int:
    """Return its thread number, or that of another scanner."""
    return engines.thread_id(name)


def find(name: str = "kksmd") -> Path:
    """Give its directory in /proc, or that of another scanner."""
    return Path("/proc") / str(tid(name))


def runtime(name: str = "kksmd") -> float:
    """Return the CPU seconds that it has used, or another scanner."""
    return proc.cpu_seconds(find(name))[0]


def finds_by_hash() -> bool:
    """Say whether the driver was loaded with the hash index."""
    return Path("/sys/module/ksm/parameters/index").read_text() == "hash\n"


def asleep(thread: Path) -> bool:
    """Say whether a thread sleeps, and is not just about to.

    A thread has its sleeping state (S) before it has looked a last time whether to sleep at all;
    only once it is off the CPU is there something to read in wchan.
    """
    return thread.joinpath("wchan").read_text() != "0" and proc.state(thread) == "S"


def one_batch(scanning: KsmSysfs) -> None:
    """Have kksmd, whose sleep is LONG, scan one batch; return when it sleeps again."""
    thread = find()
    scanning.wait_until(lambda _: asleep(thread), SECONDS, "kksmd to sleep")
    scanning.sleep = LONG + (scanning.sleep == LONG)
    scanning.wait_until(lambda _: asleep(thread), SECONDS, "kksmd to sleep again")


def pass_takes(scanning: KsmSysfs, seconds: float) -> bool:
    """Say whether passes take so long.

    A pass that finds the mmap lock contended ends early, and the next one is incomplete, too. So one of twenty
    measurements has to show the time.
    """
    for _ in range(20):
        passes, began = scanning.full_scans, time.monotonic()
        scanning.wait_full_scans(1)
        took = time.monotonic() - began
        if took / (scanning.full_scans - passes) >= seconds:
            return True
    return False
