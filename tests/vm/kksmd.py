"""kksmd itself: what it has used, and how to have it scan one batch and stand still."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.bench import engines

if TYPE_CHECKING:
    from ksmlab.sysfs import KsmSysfs

#: Microseconds that no test lives to see the end of; one less or more makes kksmd look again.
LONG = 0xFFFFFFF0
SECONDS = 60.0


def tid() -> int:
    """Return its thread number."""
    return engines.thread_id("kksmd")


def find() -> Path:
    """Give its directory in /proc."""
    return Path("/proc") / str(tid())


def runtime() -> float:
    """Return the CPU seconds that kksmd has used."""
    return int(find().joinpath("schedstat").read_text().split()[0]) / 1e9


def asleep(thread: Path) -> bool:
    """Say whether a thread sleeps, and is not just about to.

    A thread has its sleeping state (S) before it has looked a last time whether to sleep at all;
    only once it is off the CPU is there something to read in wchan.
    """
    return (
        thread.joinpath("wchan").read_text() != "0"
        and thread.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] == "S"
    )


def one_batch(scanning: KsmSysfs) -> None:
    """Have kksmd, whose sleep is LONG, scan one batch; return when it sleeps again."""
    thread = find()
    scanning.wait_until(lambda _: asleep(thread), SECONDS, "kksmd to sleep")
    scanning.sleep = LONG + (scanning.sleep == LONG)
    scanning.wait_until(lambda _: asleep(thread), SECONDS, "kksmd to sleep again")
