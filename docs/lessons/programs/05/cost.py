"""Measure the CPU time of kksmd on pages that are hard to tell apart: equal except for their last eight bytes."""

from pathlib import Path

from ksmlab import content
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

PAGES = 4096
PASSES = 4


def cpu_ms() -> int:
    """Return the CPU time of kksmd so far, in milliseconds."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        if comm.read_text() == "kksmd\n":
            return int(comm.with_name("schedstat").read_text().split()[0]) // 1_000_000
    raise RuntimeError("there is no kksmd: load the driver")


def measure() -> int:
    """Wait until kksmd has scanned the pages a few times, and return the CPU time that it used, in milliseconds."""
    ksm = KsmSysfs.find()
    with Arena(PAGES, words=content.LAST_WORD, huge=False) as arena, KsmDevice() as device:
        arena.fill(content.unique(PAGES))
        with device.create_area() as area, ksm.settings(run=1, pages_to_scan=PAGES, sleep=0):
            area.register(arena)
            before = cpu_ms()
            ksm.wait_full_scans(PASSES, 240)
            return cpu_ms() - before


if __name__ == "__main__":
    index = Path("/sys/module/ksm/parameters/index").read_text().strip()
    print(f"{index}: {measure()} ms of CPU for {PASSES} passes over {PAGES} pages")
