"""A process that holds its own mmap lock does not delay the scan of another process."""

import os
import signal
import time

from ksmlab import content
from ksmlab.device import Area, KsmDevice
from ksmlab.lab_device import PteLab
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

PAGES = 8


def register(key: int) -> tuple[Arena, Area]:
    """Register pages that are equal to each other, and to no others."""
    arena = Arena(PAGES, huge=False)
    arena.fill(content.equal(PAGES, key=key))
    area = KsmDevice().create_area()
    area.register(arena)
    return arena, area


def main() -> None:
    """Let a child hold its mmap lock, and merge the pages of this process meanwhile."""
    ksm = KsmSysfs.find()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        kept = register(1)
        lab = PteLab()
        os.write(writer, b"x")
        lab.hold_mmap_lock()
        os._exit(len(kept))
    os.read(reader, 1)
    time.sleep(1)
    arena, area = register(2)
    with ksm.settings(run=1):
        ksm.wait_until(lambda ksm: ksm.pages_shared == PAGES - 1, 60)
        ksm.wait_full_scans(3)
        print("pages saved:", ksm.pages_shared)
        print("pages skipped because a lock was busy:", ksm.read("skipped/busy"))
        start = time.monotonic()
        area.remove()
        print("REMOVE took less than a second:", time.monotonic() - start < 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    arena.close()


main()
