"""A disk answers a read while the page that it reads into is merged: where do the data go?"""

import os
import threading

from ksmlab import content, pagemap
from ksmlab.device import KsmDevice
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena
from ksmlab.nbd import SlowDisk
from ksmlab.sysfs import KsmSysfs

PAGES, READ_INTO = 8, 5
DATA = b"from the disk..." * (PAGE_SIZE // 16)


def main() -> None:
    """Register equal pages while a read into one of them is in flight; then let the disk answer."""
    ksm = KsmSysfs.find()
    done: list[int] = []
    with SlowDisk(16) as disk, Arena(PAGES, huge=False) as arena:
        arena.fill(content.equal(PAGES))
        fd = os.open(disk.path, os.O_RDONLY | os.O_DIRECT)
        page = arena.page_view(READ_INTO)
        reader = threading.Thread(target=lambda: done.append(os.preadv(fd, [page], 0)))
        reader.start()
        handle, _ = disk.wait_read(60)
        with KsmDevice().create_area() as area, ksm.settings(run=1):
            area.register(arena)
            ksm.wait_full_scans(4)
            frames = pagemap.frames(None, arena.address, PAGES)
            print(f"{PAGES} equal pages, frames: {pagemap.distinct(frames)}")
            print(f"pages left alone because another user holds them: {ksm.read('skipped/pinned')}")
            disk.answer(handle, DATA)
            reader.join()
            print(f"the disk has answered; read() says: {done[0]} bytes")
            print(
                f"and in memory is: {bytes(page[:16])!r}"
                if bytes(page) == DATA
                else "and they are nowhere: LOST"
            )
        os.close(fd)


if __name__ == "__main__":
    main()
