"""Measure how long a write takes to pages that another process has, and to pages that it does not have.

Prints JSON: for each round, the times of the writes to merged and to private pages, in ns. docs/data/write-times.json
has the result of one run, from which the histogram of the lesson is drawn.
"""

import json
import os
import platform
import signal

from attacker import write_times
from page import secret_page

from ksmlab import pagemap
from ksmlab.device import KsmDevice
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

# Of each kind.
PAGES = 200
ROUNDS = 5
# The passes of each round, as in attacker.py.
FIRST_PASSES, PASSES = 20, 4
DEADLINE = 240


def victim(ready: int) -> None:
    """Register a page for each even number, say so, and wait for the end."""
    with Arena(PAGES, huge=False) as arena, KsmDevice() as device, device.create_area() as area:
        arena.view()[:] = b"".join(secret_page(2 * number) for number in range(PAGES))
        area.register(arena)
        os.write(ready, b".")
        signal.pause()


def measure() -> dict[str, object]:
    """Register a guess for each number, even and odd. In each round, wait for merges, and time a write to each page."""
    rounds = []
    # The first write of a round is slow for other reasons. So it goes to an extra page, and its time is ignored.
    pages = [b"first".ljust(PAGE_SIZE, b"\0"), *map(secret_page, range(2 * PAGES))]
    with (
        KsmSysfs.find().settings(run=1, sleep=0) as ksm,
        Arena(len(pages), huge=False) as arena,
        KsmDevice() as device,
        device.create_area() as area,
    ):
        arena.view()[:] = b"".join(pages)
        area.register(arena)
        for done in range(ROUNDS):
            ksm.wait_full_scans(PASSES if done else FIRST_PASSES, DEADLINE)
            ksm.wait_until(lambda ksm: ksm.pages_shared == PAGES, DEADLINE)
            before = pagemap.entries(None, arena.address, len(pages))
            if not all(
                entry.exclusive == bool(number % 2) for number, entry in enumerate(before[1:])
            ):
                raise SystemExit("a page is merged that has no match, or the other way round")
            times = write_times(arena, pages)[1:]
            rounds.append({"merged": times[::2], "private": times[1::2]})
    return {"kernel": platform.release(), "rounds": rounds}


def main() -> None:
    """Start the victim, measure, and end the victim."""
    heard, ready = os.pipe()
    child = os.fork()
    if child == 0:
        victim(ready)
    os.read(heard, 1)
    try:
        print(json.dumps(measure()))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
