"""Count the TLB flushes of kksmd, and the IPIs that a CPU gets for them, while the pages of a process merge."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from ksmlab import content
from ksmlab.bench.engines import thread_id
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

# A shell on CPU 0 starts the scanner, so that it does not matter how long this process needs to fall asleep.
START = "sleep 1; echo 1 > /sys/kernel/mm/ksm/run"
PAGES = 224  # Fewer than max_page_sharing, so that one kernel page is enough.
TRACING = Path("/sys/kernel/tracing")
EVENT = TRACING / "events/tlb/tlb_flush/enable"
FLUSH = re.compile(r"kksmd-\d+ .* tlb_flush: pages:(\d+) reason:remote ipi send")


def ipis(cpu: int) -> int:
    """Return the number of IPIs for TLB flushes that a CPU has received: the line TLB of /proc/interrupts."""
    for line in Path("/proc/interrupts").read_text().splitlines():
        if line.split()[0] == "TLB:":
            return int(line.split()[1 + cpu])
    raise LookupError("/proc/interrupts has no line TLB")


def merge(busy: bool) -> tuple[list[int], int]:
    """Let kksmd merge equal pages of this process, which runs on CPU 1 meanwhile.

    Args:
        busy: keep the CPU busy; otherwise sleep.

    Returns:
        The number of pages of each flush; the number of IPIs that CPU 1 received.
    """
    ksm = KsmSysfs.find()
    with Arena(PAGES, huge=False) as arena, KsmDevice().create_area() as area:
        arena.fill(content.equal(PAGES))
        area.register(arena)
        (TRACING / "trace").write_text("")
        EVENT.write_text("1")
        subprocess.Popen(["sh", "-c", START])
        os.sched_setaffinity(0, {1})
        before = ipis(1)
        while not busy and ksm.pages_shared < PAGES - 1:
            time.sleep(10)
        while ksm.pages_shared < PAGES - 1:
            pass
        ksm.run = 0
        received = ipis(1) - before
        EVENT.write_text("0")
    return [int(pages) for pages in FLUSH.findall((TRACING / "trace").read_text())], received


def main() -> None:
    """Run kksmd on CPU 0, and print the numbers for CPU 1."""
    os.sched_setaffinity(thread_id("kksmd"), {0})
    os.sched_setaffinity(0, {0})
    flushes, received = merge(sys.argv[1] == "busy")
    print(f"{len(flushes)} flushes, of at most {max(flushes)} pages each")
    print(f"CPU 1 received {received} IPIs")
    print(f"more than half of the flushes interrupted it: {received > len(flushes) / 2}")


if __name__ == "__main__":
    main()
