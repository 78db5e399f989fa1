"""The same pages with the driver of 2009, and with what Linux has now."""

import sys
import time
from pathlib import Path

from ksmlab import content, pagemap
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

PAGES = 64
MADV_MERGEABLE = 12
SECONDS = 400


def show(name: str, arena: Arena) -> None:
    """Say where the pages are, and what the kernel takes their frame for."""
    frames = pagemap.frames(None, arena.address, PAGES)
    flags = pagemap.page_flags(frames[:1])[frames[0]]
    print(f"{name}: {pagemap.distinct(frames)} frame(s) for {PAGES} pages")
    print(
        "  anonymous:",
        pagemap.PageFlag.ANON in flags,
        " known as KSM:",
        pagemap.PageFlag.KSM in flags,
    )
    print(
        "  on the LRU:",
        pagemap.PageFlag.LRU in flags,
        " of a file:",
        pagemap.entry(arena.address).file,
    )


def devksm(arena: Arena) -> None:
    """Register the pages on a descriptor."""
    ksm = KsmSysfs.find()
    with KsmDevice() as device, device.create_area() as area, ksm.settings(run=1):
        area.register(arena)
        ksm.wait_until(lambda ksm: ksm.pages_shared == PAGES - 1, SECONDS)
        show("/dev/ksm", arena)


def madvise(arena: Arena) -> None:
    """Put a flag on the mapping."""
    kernel = Path("/sys/kernel/mm/ksm")
    arena.advise(MADV_MERGEABLE)
    (kernel / "run").write_text("1")
    end = time.monotonic() + SECONDS
    while pagemap.distinct(pagemap.frames(None, arena.address, PAGES)) > 1:
        if time.monotonic() > end:
            sys.exit("the kernel's KSM has not merged them")
        time.sleep(0.05)
    show("madvise()", arena)
    (kernel / "run").write_text("2")
    (kernel / "run").write_text("0")


if __name__ == "__main__":
    for way in (devksm, madvise):
        with Arena(PAGES, huge=False) as arena:
            arena.fill(content.equal(PAGES))
            way(arena)
            assert arena.verify() == []
