"""Frames that are saved when the kernel splits a huge page and maps the zero page in place of empty parts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ksmlab import content, pagemap
from ksmlab.memory import Arena
from ksmlab.pagemap import PageFlag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

HUGE = 512
WRITTEN = 10
#: Does the split of a huge page use the zero page? Linux 6.12 does, 6.1 does not.
USES_ZERO_PAGE = tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 12)


def own_frames(arena: Arena) -> int:
    """Count the frames of the arena, without the zero page."""
    flags = pagemap.page_flags(pagemap.frames(None, arena.address, arena.npages))
    return sum(1 for pfn in flags if pfn and PageFlag.ZERO_PAGE not in flags[pfn])


def wait_saved(ksm: KsmSysfs, arena: Arena, present: int) -> None:
    """Wait until the counters agree with the counted frames.

    Args:
        ksm: the driver's counters.
        arena: the only registered memory.
        present: the pages that would need a frame each if nothing had been saved.
    """
    ksm.wait_until(
        lambda s: s.pages_shared + s.zero_pages == present - own_frames(arena),
        60,
        "sysfs to agree with the counted frames",
    )


def wait_merged(ksm: KsmSysfs) -> None:
    """Wait until the empty pages of the huge page are merged, or mapped to the zero page."""
    wanted = HUGE - WRITTEN - 2
    ksm.wait_until(lambda s: s.pages_shared + s.zero_pages >= wanted, 60, "all pages to be saved")


@pytest.fixture
def huge_page() -> Iterator[Arena]:
    """One huge page, most of which is empty."""
    with Arena(HUGE, huge=True) as arena:
        arena.fill(content.unique(WRITTEN))
        yield arena


def test_sysfs_accounts_for_every_frame_that_a_split_saves(
    area: Area, scanning: KsmSysfs, huge_page: Arena
) -> None:
    assert own_frames(huge_page) == HUGE
    area.register(huge_page)
    wait_merged(scanning)
    scanning.wait_full_scans(2)
    assert scanning.zero_pages == (HUGE - WRITTEN if USES_ZERO_PAGE else 0)
    assert scanning.pages_shared + scanning.zero_pages == HUGE - own_frames(huge_page)
    assert huge_page.verify() == []


def test_pages_that_mapped_the_zero_page_before_are_not_counted(
    area: Area, scanning: KsmSysfs, huge_page: Arena
) -> None:
    gone = 50
    huge_page.discard(100, gone)
    for page in range(100, 100 + gone):
        assert huge_page.page_view(page)[0] == 0
    assert own_frames(huge_page) == HUGE - gone
    area.register(huge_page)
    wanted = HUGE - WRITTEN - gone
    scanning.wait_until(lambda s: s.pages_shared + s.zero_pages >= wanted - 2, 60, "all")
    scanning.wait_full_scans(2)
    assert scanning.zero_pages == (wanted if USES_ZERO_PAGE else 0)
    assert scanning.pages_shared + scanning.zero_pages == HUGE - gone - own_frames(huge_page)


def test_zero_pages_are_counted_until_they_are_written_or_unmapped(
    area: Area, scanning: KsmSysfs, huge_page: Arena
) -> None:
    area.register(huge_page)
    wait_merged(scanning)
    wait_saved(scanning, huge_page, HUGE)
    huge_page.fill(content.unique(20, first=1000), 100)
    wait_saved(scanning, huge_page, HUGE)
    huge_page.unmap(200, 30)
    wait_saved(scanning, huge_page, HUGE - 30)
    assert scanning.zero_pages == (HUGE - WRITTEN - 20 - 30 if USES_ZERO_PAGE else 0)


def test_run_2_leaves_zero_pages_and_remove_ends_their_count(
    area: Area, scanning: KsmSysfs, huge_page: Arena
) -> None:
    area.register(huge_page)
    wait_merged(scanning)
    wait_saved(scanning, huge_page, HUGE)
    before = scanning.zero_pages
    scanning.run = 2
    assert (scanning.pages_shared, scanning.zero_pages) == (0, before)
    assert own_frames(huge_page) == HUGE - before
    area.remove()
    assert scanning.zero_pages == 0
    assert huge_page.verify() == []
