"""Rule 7: what may change under the scan."""

from __future__ import annotations

import ctypes
import errno
import mmap
import resource
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import kksmd
import pytest
from children import child
from equal import NPAGES, all_merged
from uffd import MODE_MISSING, userfaultfd
from written import written

from ksmlab import content, libc, pagemap
from ksmlab.device import KsmDevice, RegisterError
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena
from ksmlab.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs


def test_mlocked_pages_merge_and_stay_in_memory(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    arena.lock()
    area.register(arena)
    all_merged(scanning)
    arena.fill(content.unique(NPAGES))
    assert all(entry.present for entry in pagemap.entries(None, arena.address, NPAGES))
    arena.unlock()
    assert arena.verify() == []


def test_mlock_of_merged_pages(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    area.register(arena)
    all_merged(scanning)
    arena.lock()
    arena.unlock()
    assert arena.verify() == []
    area.remove()
    assert arena.verify() == []


def test_munmap_of_merged_pages(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    area.register(arena)
    all_merged(scanning)
    arena.unmap(0, NPAGES // 2)
    all_merged(scanning, NPAGES // 2)
    arena.unmap(NPAGES // 2, NPAGES // 2 - 1)
    scanning.wait_until(lambda s: s.pages_shared == 0, 60, "one page left")
    arena.unmap(NPAGES - 1, 1)
    scanning.wait_until(lambda s: s.kernel_pages_allocated == 0, 60, "the node dropped")


def test_madv_dontneed_of_merged_pages(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    area.register(arena)
    all_merged(scanning)
    arena.discard(0, NPAGES // 2)
    assert arena.verify() == []
    all_merged(scanning, NPAGES // 2)
    arena.fill(content.equal(NPAGES // 2))
    all_merged(scanning)
    assert arena.verify() == []


def test_mremap_within_the_region_and_out_of_it(area: Area, scanning: KsmSysfs) -> None:
    with Arena(NPAGES, huge=False) as arena:
        arena.fill(content.equal(NPAGES))
        area.register(arena)
        all_merged(scanning)
        frame = pagemap.entry(arena.address).pfn
        arena.move()
        assert set(pagemap.frames(None, arena.address, NPAGES)) == {frame}
        assert arena.verify() == []
        # The old range holds nothing, the new one is no region: nothing is shared, by the book.
        scanning.wait_until(lambda s: s.pages_shared == 0, 60, "nothing shared")
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == NPAGES - 1, 60, "taken up where it is")
        assert set(pagemap.frames(None, arena.address, NPAGES)) == {frame}
        area.remove()
        assert pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)) == NPAGES


def merge_and_stop(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    """Register an arena, wait until its pages are merged, and stop the scanner."""
    area.register(arena)
    all_merged(scanning)
    scanning.run = 0


def test_merged_pages_that_the_scan_has_not_met_are_unmerged_too(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    """They came by mremap, into a region that is removed before kksmd gets there."""
    merge_and_stop(area, arena, scanning)
    arena.move()
    with KsmDevice() as device, device.create_area() as second:
        second.register(arena)
        second.remove()
        assert pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)) == NPAGES
    assert arena.verify() == []


def frames_after_removal_with_userfaultfd(arena: Arena) -> int:
    """Register an arena and a userfaultfd for it, remove the region, and return the number of frames of the arena."""
    with KsmDevice() as device, device.create_area() as area, userfaultfd() as uffd:
        area.register(arena)
        uffd.register(arena, MODE_MISSING)
        area.remove()
        return pagemap.distinct(pagemap.frames(None, arena.address, NPAGES))


def test_remove_unmerges_pages_that_mremap_moved_to_a_userfaultfd_mapping(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    merge_and_stop(area, arena, scanning)
    arena.move()
    assert frames_after_removal_with_userfaultfd(arena) == NPAGES
    assert arena.verify() == []


def test_remove_unmerges_pages_that_fork_copied_to_a_userfaultfd_mapping(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    def body(connection: Connection) -> None:
        connection.send(frames_after_removal_with_userfaultfd(arena))
        connection.send(arena.verify())

    merge_and_stop(area, arena, scanning)
    with child(body) as process:
        assert process.receive() == NPAGES
        assert process.receive() == []


def test_mremap_of_merged_pages_over_pages_that_wait_in_the_index(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    """The pass stands still in the middle: what it has seen last is in the unstable index."""
    half = NPAGES // 2
    area.register(arena)
    all_merged(scanning)
    with KsmDevice() as device, device.create_area() as second, Arena(NPAGES, huge=False) as other:
        other.fill(content.unique(NPAGES, first=500))
        second.register(other)
        scanning.wait_full_scans(2)
        # A batch is all of the first region and half of the second; then comes a long sleep.
        with scanning.settings(pages_to_scan=NPAGES + half, sleep=kksmd.LONG):
            # The first may be two: a short sleep from before may end by itself.
            kksmd.one_batch(scanning)
            passes = scanning.full_scans
            while scanning.full_scans == passes:
                kksmd.one_batch(scanning)
            kksmd.one_batch(scanning)
            libc.move(arena.address, half * PAGE_SIZE, other.address)
            second.remove()
            frames = pagemap.frames(None, other.address, NPAGES)
            assert pagemap.distinct(frames) == NPAGES
            area.remove()
        assert ctypes.string_at(other.address, PAGE_SIZE) == arena.expected(0)
        assert other.verify(half) == []


@pytest.mark.parametrize("gone", [False, True], ids=["written", "gone"])
def test_page_that_changes_after_its_insertion_is_not_merged(
    area: Area, scanning: KsmSysfs, gone: bool
) -> None:
    """Its old hash still matches another page; the driver notices the change before it replaces either page."""
    wait, meet = content.unique(NPAGES), content.unique(NPAGES, first=500)
    with (
        Arena(NPAGES, huge=False, words=content.EVERY_LINE) as waiting,
        Arena(NPAGES, huge=False, words=content.EVERY_LINE) as meeting,
    ):
        waiting.fill(wait)
        meeting.fill(meet)
        area.register(waiting)
        area.register(meeting)
        scanning.wait_full_scans(2)
        # Each batch is one of the regions, since no page is skipped; a pass ends with that of the second.
        with scanning.settings(pages_to_scan=NPAGES, sleep=kksmd.LONG, run=1):
            kksmd.one_batch(scanning)
            passes = scanning.full_scans
            while scanning.full_scans == passes:
                kksmd.one_batch(scanning)
            meeting.fill(wait)
            for _ in range(3):
                kksmd.one_batch(scanning)
            if gone:
                waiting.discard()
            else:
                waiting.fill(content.unique(NPAGES, first=1000))
            kksmd.one_batch(scanning)
            assert scanning.full_scans == passes + 3
            assert (scanning.pages_shared, scanning.kernel_pages_allocated) == (0, 0)
            # The tree compares the current contents, so it has found no match.
            assert scanning.skipped()["changed"] == (2 * NPAGES if kksmd.finds_by_hash() else 0)
        waiting.fill(wait)
        scanning.wait_until(lambda s: s.pages_shared == NPAGES, 60, "all pairs to merge")
        assert waiting.verify() == meeting.verify() == []


def test_mprotect_while_scanning(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    area.register(arena)
    for prot in (mmap.PROT_READ, libc.PROT_NONE, mmap.PROT_READ | mmap.PROT_WRITE) * 3:
        arena.protect(prot)
        scanning.wait_full_scans(1)
    all_merged(scanning)
    arena.protect(mmap.PROT_READ)
    area.remove()
    # A mapping that cannot be written gets its own copies all the same.
    assert pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)) == NPAGES
    assert arena.verify() == []


def test_everything_at_once_while_scanning(area: Area, scanning: KsmSysfs) -> None:
    """Ten seconds of mapping, unmapping, moving, protecting, dropping; content checked."""
    end = time.monotonic() + 10
    failures: list[str] = []

    def churn(seed: int) -> None:
        turn = 0
        while time.monotonic() < end and not failures:
            turn += 1
            # A kernel with DEBUG_VM forbids huge pages where it merges, and mappings of which some
            # are so marked do not move as one: here all of them are, from the beginning.
            with (
                KsmDevice() as device,
                device.create_area() as own,
                Arena(128, seed=1, huge=False) as arena,
            ):
                arena.fill(content.cycle(128, 7))
                try:
                    own.register(arena)
                except RegisterError as error:
                    # Where another thread's arena was before its move, its region is still.
                    if error.errno == errno.EEXIST:
                        continue
                    raise
                arena.protect(mmap.PROT_READ, 0, 32)
                arena.protect(mmap.PROT_READ | mmap.PROT_WRITE, 0, 32)
                arena.discard(32, 32)
                arena.fill(content.cycle(32, 5, first=turn), 32)
                if arena.verify():
                    failures.append(f"thread {seed} turn {turn} before the move")
                arena.move()
                arena.write(3, b"mine")
                if arena.verify():
                    failures.append(f"thread {seed} turn {turn} after the move")
                arena.unmap(64, 32)
                if arena.verify():
                    failures.append(f"thread {seed} turn {turn} after the unmap")

    threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert scanning.pages_shared == 0


@pytest.fixture
def overcommit() -> Iterator[None]:
    """Allow every process to map any amount of memory."""
    with written({Path("/proc/sys/vm/overcommit_memory"): "1"}):
        yield


@pytest.mark.usefixtures("overcommit")
def test_a_hole_of_1_tib_costs_less_than_a_second(area: Area, scanning: KsmSysfs) -> None:
    """Both kinds: no mapping at all, and a mapping that was never touched."""
    tib = 1 << 40
    _, limit = resource.getrlimit(resource.RLIMIT_AS)
    assert limit == resource.RLIM_INFINITY
    address = libc.map_anonymous(3 * tib, noreserve=True)
    libc.unmap(address, tib)
    libc.advise(address + tib, 2 * tib, mmap.MADV_NOHUGEPAGE)
    try:
        ends = (address + tib, address + 3 * tib - PAGE_SIZE)
        for at in ends:
            ctypes.memset(at, 5, PAGE_SIZE)
        area.register(address, 3 * tib // PAGE_SIZE)
        began = kksmd.runtime()
        passes = scanning.full_scans
        scanning.wait_full_scans(3)
        cost = (kksmd.runtime() - began) / (scanning.full_scans - passes)
        assert cost < patient(1.0)
        assert scanning.pages_shared == 1
        assert pagemap.entry(ends[0]).pfn == pagemap.entry(ends[1]).pfn
    finally:
        area.remove()
        libc.unmap(address + tib, 2 * tib)
