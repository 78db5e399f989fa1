"""Pages that get their own copy back, and what may stand in the way."""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from equal import NPAGES, all_merged
from kernel_config import release
from uffd import write_protected

from ksmlab import pagemap
from ksmlab.sysfs import SysfsError

if TYPE_CHECKING:
    from ksmlab.device import Area
    from ksmlab.memory import Arena
    from ksmlab.sysfs import KsmSysfs

#: From 6.2 on a page is unshared past userfaultfd, and nothing can keep it from being copied but broken memory.
writes_to_unmerge = pytest.mark.skipif(
    release() >= (6, 2),
    reason="this kernel copies pages past userfaultfd's write protection",
)


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
        # The scanner has stopped. The one page still maps a kernel page, which no other page shares.
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
    """A fault returns with nothing done until the close of the userfaultfd has taken the mmap lock."""
    for _ in range(20):
        scanning.run = 1
        area.register(arena)
        all_merged(scanning)
        scanning.run = 0
        with write_protected(arena, NPAGES) as uffd:
            begun = threading.Event()

            def remove(begun: threading.Event = begun) -> None:
                begun.set()
                with suppress(OSError):
                    area.remove()

            remover = threading.Thread(target=remove)
            remover.start()
            begun.wait()
            uffd.close()
            remover.join()
        area.remove()
        assert distinct(arena) == NPAGES
        assert arena.verify() == []
