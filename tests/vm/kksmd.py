"""Observe and control kksmd: its CPU time, its state, and single batches of its scan."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import proc

from ksmlab.bench import engines
from ksmlab.patience import patient

if TYPE_CHECKING:
    from ksmlab.sysfs import KsmSysfs

#: A sleep time, in microseconds, that is longer than any test. Writing another sleep time wakes kksmd.
LONG = 0xFFFFFFF0
#: A number of pages to scan that is larger than all regions of a test together.
ALL_PAGES = 1 << 30
SECONDS = 60.0

#: A shell script that lets a thread ($1, its directory in /proc) scan one batch, by writing a new time ($3) to the file
#: of the sleep time ($2). A thread sets its state to sleeping (S) before it checks for the last time whether it has to
#: sleep. wchan is not 0 only after the thread has left the CPU.
ONE_BATCH = """
wait_until_asleep() {
	until [ "$(cat "$1/wchan")" != 0 ] && read -r _ _ state _ < "$1/stat" && [ "$state" = S ]; do
		sleep 0.01
	done
}
wait_until_asleep "$1"
echo "$3" > "$2"
wait_until_asleep "$1"
"""


def tid(name: str = "kksmd") -> int:
    """Return the thread ID of kksmd or of another kernel thread."""
    return engines.thread_id(name)


def find(name: str = "kksmd") -> Path:
    """Return the directory in /proc of kksmd or of another kernel thread."""
    return Path("/proc") / str(tid(name))


def runtime(name: str = "kksmd") -> float:
    """Return the CPU time, in seconds, of kksmd or of another scanner."""
    return proc.cpu_seconds(find(name))[0]


def finds_by_hash() -> bool:
    """Return whether the driver was loaded with the hash index."""
    return Path("/sys/module/ksm/parameters/index").read_text() == "hash\n"


def one_batch(scanning: KsmSysfs) -> None:
    """Let kksmd, whose sleep time is LONG, scan one batch, and wait until it sleeps again.

    Another process waits for kksmd, since this one might allocate or free memory while it waits. Then it would hold its
    mmap lock for a moment, and kksmd would skip its pages as busy.

    Raises:
        subprocess.CalledProcessError: kksmd was not asleep within SECONDS.
    """
    sleep = LONG + (scanning.sleep == LONG)
    limited = ["timeout", str(patient(SECONDS)), "sh", "-e", "-c", ONE_BATCH, "sh"]
    subprocess.run([*limited, find(), scanning.directory / "sleep", str(sleep)], check=True)


def skipped(scanning: KsmSysfs) -> dict[str, int]:
    """Return the numbers of pages, by reason, that kksmd skips in a pass that finds no mmap lock held by this process.

    If a pass finds it held, the next pass examines only the remaining pages. So let kksmd scan two more passes. The
    first batch may end a pass that has begun earlier.
    """
    with scanning.settings(pages_to_scan=ALL_PAGES, sleep=LONG):
        for _ in range(3):
            one_batch(scanning)
        return scanning.skipped()


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
