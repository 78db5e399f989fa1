"""Frames of this process's own memory."""

from __future__ import annotations

import os

import pytest

from ksmlab import content, pagemap
from ksmlab.memory import Arena
from ksmlab.pagemap import Entry, PageFlag

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="frame numbers are for root")


def test_entry_bits() -> None:
    entry = Entry(1 << 63 | 1 << 61 | 0x1234)
    assert (entry.present, entry.file, entry.pfn) == (True, True, 0x1234)
    assert not any([entry.swapped, entry.exclusive, entry.soft_dirty, entry.uffd_wp])
    assert str(entry) == "pfn=0x1234 present file"
    swapped = Entry(1 << 62 | 0x60)
    assert (swapped.present, swapped.swapped, swapped.pfn) == (False, True, 0)
    assert str(Entry(0)) == "pfn=0x0 empty"


def test_untouched_memory_has_no_frames() -> None:
    with Arena(4, huge=False) as arena:
        assert pagemap.frames(None, arena.address, 4) == [0, 0, 0, 0]
        assert pagemap.distinct([0, 0]) == 0


@needs_root
def test_each_page_has_its_frame() -> None:
    with Arena(300, huge=False) as arena:
        arena.fill(content.unique(300))
        pfns = pagemap.frames(os.getpid(), arena.address, 300)
        assert pagemap.distinct(pfns) == 300
        assert pagemap.frames(None, arena.address, 300) == pfns
        entries = pagemap.entries(None, arena.address, 300)
        assert all(e.present and e.exclusive and not e.file for e in entries)
        assert pagemap.entry(arena.address + 4097) == entries[1]
        arena.discard(7, 1)
        assert pagemap.frames(None, arena.address, 300)[7] == 0


@needs_root
def test_shared_pages_have_the_file_bit() -> None:
    with Arena(2, shared=True) as arena:
        arena.fill(content.unique(2))
        assert all(e.file for e in pagemap.entries(None, arena.address, 2))


@needs_root
def test_fork_maps_a_frame_twice() -> None:
    with Arena(8, huge=False) as arena:
        arena.fill(content.unique(8))
        pfns = pagemap.frames(None, arena.address, 8)
        wait, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            os.read(wait, 1)
            os._exit(0)
        os.close(wait)
        try:
            assert pagemap.frames(pid, arena.address, 8) == pfns
            assert pagemap.map_counts(pfns) == dict.fromkeys(pfns, 2)
            flags = pagemap.page_flags(pfns)
            assert all(PageFlag.ANON in flag for flag in flags.values())
        finally:
            os.close(go)
            os.waitpid(pid, 0)


def test_a_missing_process_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        pagemap.read(2**22 + 1, 0, 1)


def test_a_range_outside_is_an_error() -> None:
    with pytest.raises(OSError, match="ends after 0"):
        pagemap.read(None, 1 << 60, 1)
