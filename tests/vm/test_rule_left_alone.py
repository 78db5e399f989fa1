"""Rule 4: what is left alone, and said why."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import kksmd
import numa
import pytest
from equal import NPAGES, all_merged
from modules import kernels_own_ksm
from swap import swap
from uffd import MODE_MISSING, userfaultfd
from written import written

from ksmlab import content, libc, pagemap
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import MADV_PAGEOUT, Arena
from ksmlab.pagemap import PageFlag
from ksmlab.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modules import Modules

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def kernel_ksm(modules: Modules) -> Iterator[Path]:
    """The kernel's own KSM at work beside ours: its directory in /sys."""
    theirs = kernels_own_ksm()
    with modules.without():
        modules.load("ksm", "sysfs=auto")
        quick = {theirs / "pages_to_scan": "2000", theirs / "sleep_millisecs": "5"}
        with written(quick):
            (theirs / "run").write_text("1")
            try:
                yield theirs
            finally:
                (theirs / "run").write_text("2")
                (theirs / "run").write_text("0")


def left_alone(ksm: KsmSysfs, reason: str, pages: int) -> None:
    skipped = kksmd.skipped(ksm)
    assert skipped[reason] == pages, skipped
    assert ksm.pages_shared == 0


def test_a_shared_mapping(area: Area, scanning: KsmSysfs) -> None:
    with Arena(NPAGES, shared=True) as arena:
        arena.fill(content.equal(NPAGES))
        area.register(arena)
        left_alone(scanning, "shared_vma", NPAGES)
        assert arena.verify() == []


def test_a_file_mapping_though_its_pages_were_written(
    area: Area, scanning: KsmSysfs, tmp_path: Path
) -> None:
    """A private mapping of a file: truncation would take a kernel page for the file's."""
    path = tmp_path / "file"
    path.write_bytes(bytes(NPAGES * PAGE_SIZE))
    with (
        path.open("r+b") as file,
        mmap.mmap(
            file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        ) as mapping,
    ):
        mapping[:] = b"x" * len(mapping)
        buffer = (ctypes.c_char * len(mapping)).from_buffer(mapping)
        area.register(ctypes.addressof(buffer), NPAGES)
        left_alone(scanning, "file", NPAGES)
        area.remove()
        del buffer


def test_device_memory(area: Area, scanning: KsmSysfs) -> None:
    with open("/dev/mem", "rb") as memory:
        address = _mmap(memory.fileno(), 16 * PAGE_SIZE, offset=0xF0000)
        area.register(address, 16)
        skipped = kksmd.skipped(scanning)
        assert skipped["io"] + skipped["pfnmap"] == 16
        area.remove()
        libc.unmap(address, 16 * PAGE_SIZE)


def test_hugetlb(area: Area, scanning: KsmSysfs) -> None:
    Path("/proc/sys/vm/nr_hugepages").write_text("2")
    try:
        address = _mmap(-1, 2 << 21, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
        ctypes.memset(address, 3, 2 << 21)
        area.register(address, 1024)
        left_alone(scanning, "hugetlb", 1024)
        area.remove()
        libc.unmap(address, 2 << 21)
    finally:
        Path("/proc/sys/vm/nr_hugepages").write_text("0")


def _mmap(fd: int, length: int, flags: int = mmap.MAP_SHARED, offset: int = 0) -> int:
    call = _libc.mmap
    call.restype = ctypes.c_void_p
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if fd < 0 else 0)
    address = call(None, ctypes.c_size_t(length), prot, flags, fd, ctypes.c_long(offset))
    assert address != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
    return int(address)


def test_the_zero_page(area: Area, scanning: KsmSysfs) -> None:
    with Arena(NPAGES, huge=False) as arena:
        for page in range(NPAGES):
            bytes(arena.page_view(page))
        area.register(arena)
        left_alone(scanning, "zero_page", NPAGES)


def test_the_huge_zero_page(area: Area, scanning: KsmSysfs) -> None:
    with Arena(512, huge=True) as arena:
        bytes(arena.page_view(0))
        area.register(arena)
        left_alone(scanning, "zero_page", 512)


def test_a_range_that_userfaultfd_watches(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    with userfaultfd() as uffd:
        uffd.register(arena, MODE_MISSING)
        area.register(arena)
        left_alone(scanning, "uffd", NPAGES)
    all_merged(scanning)


def test_pages_that_are_merged_stay_so_when_userfaultfd_comes(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    area.register(arena)
    all_merged(scanning)
    with userfaultfd() as uffd:
        uffd.register(arena, MODE_MISSING)
        scanning.wait_full_scans(2)
        assert scanning.pages_shared == NPAGES - 1
        area.remove()
        assert pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)) == NPAGES
    assert arena.verify() == []


def test_swapped_pages_stay_in_swap(
    area: Area, arena: Arena, scanning: KsmSysfs, tmp_path: Path
) -> None:
    with swap(tmp_path):
        arena.advise(MADV_PAGEOUT)
        swapped = sum(entry.swapped for entry in pagemap.entries(None, arena.address, NPAGES))
        assert swapped > NPAGES // 2
        area.register(arena)
        skipped = kksmd.skipped(scanning)["swapped"]
        now = pagemap.entries(None, arena.address, NPAGES)
        assert sum(entry.swapped for entry in now) == swapped
        assert skipped == swapped
        # Read back in, they are in the swap cache as well, and merge all the same.
        assert arena.verify() == []
        all_merged(scanning)
        assert arena.verify() == []


def test_merged_pages_are_not_swapped_out(
    area: Area, arena: Arena, scanning: KsmSysfs, tmp_path: Path
) -> None:
    with swap(tmp_path):
        area.register(arena)
        all_merged(scanning)
        scanning.run = 0
        (kernel_page,) = set(pagemap.frames(None, arena.address, NPAGES))
        # MADV_PAGEOUT skips pages that several entries map. So leave one entry to the kernel page.
        for page in range(1, NPAGES):
            arena.write(page, b"x")
        assert pagemap.map_counts([kernel_page])[kernel_page] == 1
        # A copy can be in the list of a CPU, and not on an LRU list yet.
        numa.drain()
        deadline = time.monotonic() + patient(60)
        while True:
            arena.advise(MADV_PAGEOUT)
            first, *copies = pagemap.entries(None, arena.address, NPAGES)
            assert first.present
            assert first.pfn == kernel_page
            if all(entry.swapped for entry in copies):
                break
            assert time.monotonic() < deadline, "the copies are not swapped out"
            time.sleep(0.05)
        assert arena.verify() == []


def test_pages_of_the_kernels_own_ksm(kernel_ksm: Path, area: Area, scanning: KsmSysfs) -> None:
    """Beside ours, in the same region: theirs are left alone, and ours are not theirs."""
    with Arena(2 * NPAGES, huge=False) as arena:
        arena.fill(content.equal(2 * NPAGES))
        arena.advise(mmap.MADV_MERGEABLE, 0, NPAGES)
        deadline = time.monotonic() + patient(60)
        while pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)) > 1:
            assert time.monotonic() < deadline, "the kernel's KSM does not merge"
            time.sleep(0.05)
        (kernel_ksm / "run").write_text("0")
        theirs = set(pagemap.frames(None, arena.address, NPAGES))
        assert all(PageFlag.KSM in flags for flags in pagemap.page_flags(theirs).values())

        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == NPAGES - 1, 60, "our half shared")
        assert kksmd.skipped(scanning)["kernel_ksm"] == NPAGES
        assert set(pagemap.frames(None, arena.address, NPAGES)) == theirs
        ours = set(pagemap.frames(None, arena.page_address(NPAGES), NPAGES))
        assert len(ours) == 1
        assert ours != theirs
        assert arena.verify() == []
        (kernel_ksm / "run").write_text("2")
        assert arena.verify() == []
        all_merged(scanning, 2 * NPAGES)


def test_both_at_once_on_the_same_pages(kernel_ksm: Path, area: Area, scanning: KsmSysfs) -> None:
    with Arena(1024, huge=False) as arena:
        arena.advise(mmap.MADV_MERGEABLE)
        area.register(arena)
        for turn in range(1, 6):
            arena.fill(content.groups(1024, 4, first=turn * 1000))
            scanning.wait_full_scans(2)
            assert arena.verify() == []
            arena.fill(content.unique(512, first=turn * 5000))
        assert arena.verify() == []
