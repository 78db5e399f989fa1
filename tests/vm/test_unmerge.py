"""Pages that get their own copy back, and what may stand in the way."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from equal import NPAGES, all_merged

from ksmlab import pagemap
from ksmlab.libc import PAGE_SIZE
from ksmlab.sysfs import SysfsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.device import Area
    from ksmlab.memory import Arena
    from ksmlab.sysfs import KsmSysfs

_libc = ctypes.CDLL(None, use_errno=True)
#: Of linux/userfaultfd.h.
SYS_USERFAULTFD = 323
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_WRITEPROTECT = 0xC018AA3F, 0xC020AA00, 0xC018AA06
UFFD_API, UFFD_FEATURE_PAGEFAULT_FLAG_WP = 0xAA, 1
MODE_WP = 2

#: From 6.2 on a page is unshared past userfaultfd, and nothing can keep it from being copied but broken memory.
writes_to_unmerge = pytest.mark.skipif(
    tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 2),
    reason="this kernel copies pages past userfaultfd's write protection",
)


@contextmanager
def write_protected(arena: Arena, pages: int) -> Iterator[int]:
    """Have userfaultfd hear of writes to the first pages: it may be closed within the block."""
    fd = _libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    try:
        length = pages * PAGE_SIZE
        for number, words in (
            (UFFDIO_API, (UFFD_API, UFFD_FEATURE_PAGEFAULT_FLAG_WP, 0)),
            (UFFDIO_REGISTER, (arena.address, length, MODE_WP, 0)),
            (UFFDIO_WRITEPROTECT, (arena.address, length, 1)),
        ):
            argument = (ctypes.c_uint64 * len(words))(*words)
            result = _libc.ioctl(fd, ctypes.c_ulong(number), argument)
            assert result == 0, os.strerror(ctypes.get_errno())
        yield fd
    finally:
        with suppress(OSError):
            os.close(fd)


def distinct(arena: Arena) -> int:
    return pagemap.distinct(pagemap.frames(None, arena.address, NPAGES))


@writes_to_unmerge
def test_one_page_that_cannot_be_copied_keeps_no_other_merged(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    area.register(arena)
    all_merged(scanning)
    with write_protected(arena, 1):
        with pytest.raises(SysfsError) as refused:
            scanning.run = 2
        assert refused.value.errno == errno.EFAULT
        # It stands still, the one page is merged with nobody, and is counted as merged.
        assert (scanning.run, scanning.pages_shared, scanning.kernel_pages_allocated) == (0, 0, 1)
        assert distinct(arena) == NPAGES
        assert pagemap.entry(arena.address).file
    scanning.run = 2
    assert scanning.kernel_pages_allocated == 0
    assert arena.verify() == []


@writes_to_unmerge
def test_an_area_that_is_closed_unmerges_all_it_can(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    area.register(arena)
    all_merged(scanning)
    with write_protected(arena, 1):
        area.close()
        assert distinct(arena) == NPAGES
        assert not any(
            entry.file for entry in pagemap.entries(None, arena.page_address(1), NPAGES - 1)
        )
    assert arena.verify() == []


def test_unmerging_while_a_userfaultfd_closes(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    """Faults end with nothing done until whoever closes it has had the mmap lock."""
    for _ in range(20):
        scanning.run = 1
        area.register(arena)
        all_merged(scanning)
        scanning.run = 0
        with write_protected(arena, NPAGES) as fd:
            begun = threading.Event()

            def remove(begun: threading.Event = begun) -> None:
                begun.set()
                with suppress(OSError):
                    area.remove()

            remover = threading.Thread(target=remove)
            remover.start()
            begun.wait()
            os.close(fd)
            remover.join()
        area.remove()
        assert distinct(arena) == NPAGES
        assert arena.verify() == []
