"""The main job: equal pages become one, and only their frame numbers show it."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING

import kksmd
import pytest
from children import child

from ksmlab import content, pagemap
from ksmlab.device import KsmDevice
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import MADV_COLLAPSE, Arena
from ksmlab.pagemap import PageFlag

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

HUGE = 512
#: The bit of PG_owner_priv_1, which is PG_checked, in /proc/kpageflags.
KPF_OWNER_PRIVATE = 37


def distinct(arena: Arena, first: int = 0, count: int | None = None) -> int:
    count = arena.npages - first if count is None else count
    return pagemap.distinct(pagemap.frames(None, arena.page_address(first), count))


def smaps(field: str, address: int) -> int:
    """Return a field of /proc/self/smaps, in KiB, of the mapping that holds an address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(match[1], 16) <= address < int(match[2], 16)
        elif inside and line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(f"no {field} for {address:#x}")


def process_pages(file: str, field: str) -> int:
    """Return a field of a file in /proc/self, such as RssAnon in status, in pages."""
    match = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self", file).read_text(), re.MULTILINE)
    assert match, f"no {field} in /proc/self/{file}"
    return int(match[1]) * 1024 // PAGE_SIZE


def check_rss() -> None:
    """Compare the RSS counters of this process with its page tables.

    The counters are exact to a few dozen pages for each CPU or thread. Comparing them with an earlier
    value instead would count what Python allocates and frees in the meantime.
    """
    rss, anon = (process_pages("smaps_rollup", field) for field in ("Rss", "Anonymous"))
    assert abs(process_pages("status", "RssAnon") - anon) < 256
    file = process_pages("status", "RssFile") + process_pages("status", "RssShmem")
    assert abs(file - (rss - anon)) < 256


def test_equal_pages_of_one_process(area: Area, scanning: KsmSysfs) -> None:
    with Arena(1024) as arena:
        arena.fill(content.groups(1024, 8))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 896, 60, "896 pages shared")
        assert scanning.kernel_pages_allocated == 128
        frames = pagemap.frames(None, arena.address, 1024)
        for group in range(128):
            assert len(set(frames[group * 8 : group * 8 + 8])) == 1
        assert pagemap.distinct(frames) == 128
        assert set(pagemap.map_counts(frames).values()) == {8}
        assert all(entry.file for entry in pagemap.entries(None, arena.address, 1024))
        assert arena.verify() == []


def test_equal_pages_of_three_processes(scanning: KsmSysfs) -> None:
    def body(connection: Connection) -> None:
        with KsmDevice() as device, device.create_area() as area, Arena(256) as arena:
            arena.fill(content.unique(256))
            area.register(arena)
            connection.send(arena.address)
            connection.recv()
            connection.send(arena.verify())
            connection.recv()

    with child(body) as a, child(body) as b, child(body) as c:
        places = [(process.pid, process.receive()) for process in (a, b, c)]
        scanning.wait_until(lambda s: s.pages_shared == 512, 60, "512 pages shared")
        frames = [pagemap.frames(pid, address, 256) for pid, address in places]
        assert frames[0] == frames[1] == frames[2]
        assert len(set(frames[0])) == 256
        assert [process.ask() for process in (a, b, c)] == [[], [], []]


def test_unique_pages_stay_as_they_are(area: Area, scanning: KsmSysfs) -> None:
    with Arena(512, huge=False) as arena:
        arena.fill(content.unique(512))
        area.register(arena)
        scanning.wait_full_scans(4)
        # Where they are is the kernel's business: it may move them.
        assert distinct(arena) == 512
        assert not any(entry.file for entry in pagemap.entries(None, arena.address, 512))
        assert arena.verify() == []
        assert scanning.pages_shared == 0
        assert scanning.kernel_pages_allocated == 0


@pytest.mark.parametrize("word", [0, 511])
def test_one_word_makes_pages_differ(area: Area, scanning: KsmSysfs, word: int) -> None:
    with Arena(256, words=(word,)) as arena:
        arena.fill(content.groups(256, 2))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 128, 60, "128 pages shared")
        scanning.wait_full_scans(2)
        assert distinct(arena) == 128
        assert arena.verify() == []


def test_all_pages_differ_in_one_word_only(area: Area, scanning: KsmSysfs) -> None:
    """Whatever part of a page an index goes by first, all of it counts, and no equal page is missed."""
    with Arena(1024, huge=False, words=(100,)) as arena:
        arena.fill(content.cycle(1024, 256))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 768, 60, "768 pages shared")
        frames = pagemap.frames(None, arena.address, 1024)
        assert [frames[page] == frames[page + 256] for page in range(768)] == [True] * 768
        assert len(set(frames)) == 256
        # Nothing is tried again and again.
        assert kksmd.skipped(scanning)["changed"] == 0
        assert arena.verify() == []


def test_the_first_and_the_last_page_of_a_region(area: Area, scanning: KsmSysfs) -> None:
    """v4 was off by one in the cursor. The neighbours of the region are equal, and stay out."""
    with Arena(32, huge=False) as arena:
        arena.fill(content.equal(32))
        area.register(arena.page_address(8), 16)
        scanning.wait_until(lambda s: s.pages_shared == 15, 60, "15 pages shared")
        scanning.wait_full_scans(2)
        assert scanning.pages_shared == 15
        frames = pagemap.frames(None, arena.address, 32)
        assert len(set(frames[8:24])) == 1
        assert len(set(frames)) == 17


def test_a_volatile_page_waits(area: Area, scanning: KsmSysfs) -> None:
    """Pages that differ at every visit are counted, and never merge, equal or not."""
    with Arena(64, huge=False) as arena, scanning.settings(sleep=kksmd.LONG):
        arena.fill(content.unique(64, first=100))
        passes = scanning.full_scans
        area.register(arena)
        scanning.wait_until(lambda s: s.full_scans > passes, 60, "the end of a pass")
        kksmd.one_batch(scanning)
        for turn in range(1, 6):
            arena.fill(content.equal(64, key=turn))
            kksmd.one_batch(scanning)
            assert distinct(arena) == 64
            assert scanning.pages_volatile == 64
        # Once they rest, they merge.
        kksmd.one_batch(scanning)
        assert scanning.pages_volatile == 0
        assert scanning.pages_shared == 63
        assert arena.verify() == []


def test_a_new_page_waits_for_the_tree_alone(area: Area, scanning: KsmSysfs) -> None:
    """By hash all is merged in the pass that sees it first; the tree takes in what has held still."""
    with (
        Arena(1) as other,
        Arena(64, huge=False) as arena,
        scanning.settings(sleep=kksmd.LONG),
    ):
        arena.fill(content.equal(64))
        # The test before may have left a pass half done, which is to be over.
        passes = scanning.full_scans
        area.register(other)
        scanning.wait_until(lambda s: s.full_scans > passes, 60, "the end of a pass")
        area.register(arena)
        kksmd.one_batch(scanning)
        assert scanning.pages_shared == (63 if kksmd.finds_by_hash() else 0)
        kksmd.one_batch(scanning)
        assert scanning.pages_shared == 63


def test_a_write_makes_the_page_private_and_equal_again_it_merges(
    area: Area, scanning: KsmSysfs
) -> None:
    with Arena(128) as arena:
        arena.fill(content.equal(128))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 127, 60, "127 pages shared")
        for page in range(100):
            arena.write(page, b"mine %d" % page)
        assert distinct(arena) == 101
        assert arena.verify() == []
        scanning.wait_until(lambda s: s.pages_shared == 27, 60, "27 pages shared")
        arena.fill(content.equal(100))
        scanning.wait_until(lambda s: s.pages_shared == 127, 60, "127 pages shared again")
        assert distinct(arena) == 1
        assert arena.verify() == []


def test_a_merge_ends_the_rest_of_a_page(area: Area, scanning: KsmSysfs) -> None:
    """A skipped page is found by a page with the same content. From then on, each pass scans it."""
    with Arena(2048, huge=False) as resting, Arena(512, huge=False) as found:
        resting.fill(content.unique(2048))
        area.register(resting)
        # As seldom as it comes: every 33rd pass.
        scanning.wait_full_scans(100)
        found.fill(content.unique(511, first=10_000) + content.equal(1, key=1 + 515))
        area.register(found)
        scanning.wait_until(lambda s: s.pages_shared == 1, 60, "1 page shared")
        with scanning.settings(sleep=50_000, pages_to_scan=100_000):
            resting.write(515, b"mine")
            scanning.wait_full_scans(2)
            assert (scanning.pages_shared, scanning.kernel_pages_allocated) == (0, 1)
        assert resting.verify() == found.verify() == []


def test_a_read_leaves_it_merged(area: Area, scanning: KsmSysfs) -> None:
    with Arena(64) as arena:
        arena.fill(content.equal(64))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 63, 60, "63 pages shared")
        for page in range(64):
            bytes(arena.page_view(page))
        assert distinct(arena) == 1


def test_kernel_page_has_a_flag_that_fuse_refuses(area: Area, scanning: KsmSysfs) -> None:
    """Only this flag prevents FUSE from taking over a kernel page that a process passes to it by splice()."""
    with Arena(64) as arena, pagemap.KPAGEFLAGS.open("rb") as flags:
        arena.fill(content.equal(64))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 63, 60, "63 pages shared")
        flags.seek(8 * pagemap.frames(None, arena.address, 1)[0])
        assert int.from_bytes(flags.read(8), "little") >> KPF_OWNER_PRIVATE & 1


def test_rss_moves_from_anonymous_to_file(area: Area, scanning: KsmSysfs) -> None:
    """And back: rule 0 of the design, and no trace of it once the area is closed."""
    with Arena(4096, huge=False) as arena:
        arena.fill(content.groups(4096, 64))
        check_rss()
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 4032, 60, "4032 pages shared")
        check_rss()
        assert all(entry.file for entry in pagemap.entries(None, arena.address, 4096))
        area.remove()
        check_rss()
        assert not any(entry.file for entry in pagemap.entries(None, arena.address, 4096))


def test_huge_pages_split_only_where_a_part_has_a_match(area: Area, scanning: KsmSysfs) -> None:
    with Arena(4 * HUGE, huge=True) as arena:
        keys = content.unique(4 * HUGE)
        keys[HUGE + 5] = keys[3 * HUGE + 7] = 1 << 40
        arena.fill(keys)
        assert smaps("AnonHugePages", arena.address) == 4 * 2048
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 1, 60, "one page shared")
        scanning.wait_full_scans(2)
        frames = pagemap.frames(None, arena.address, 4 * HUGE)
        assert frames[HUGE + 5] == frames[3 * HUGE + 7]
        assert pagemap.distinct(frames) == 4 * HUGE - 1
        # Two of four are huge still.
        assert smaps("AnonHugePages", arena.address) == 2 * 2048
        assert arena.verify() == []


def test_two_equal_parts_of_one_huge_page(area: Area, scanning: KsmSysfs) -> None:
    with Arena(HUGE, huge=True) as arena:
        arena.fill(content.groups(HUGE, 2))
        assert smaps("AnonHugePages", arena.address) == 2048
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == HUGE // 2, 60, "every other page shared")
        assert distinct(arena) == HUGE // 2
        assert arena.verify() == []


def test_merged_pages_do_not_become_huge_and_later_ones_do(area: Area, scanning: KsmSysfs) -> None:
    """A collapse passes merged pages by, and finds nothing amiss once they are private again."""
    with Arena(2 * HUGE, huge=True) as arena:
        arena.fill(content.cycle(2 * HUGE, 16))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 2 * HUGE - 16, 60, "all pages shared")
        with pytest.raises(OSError, match="madvise"):
            arena.advise(MADV_COLLAPSE)
        assert distinct(arena) == 16
        area.remove()
        arena.advise(mmap.MADV_HUGEPAGE)
        # What was unmerged can be written only after the next write, and a collapse asks for it.
        arena.fill(content.unique(2 * HUGE))
        arena.advise(MADV_COLLAPSE)
        assert smaps("AnonHugePages", arena.address) == 4096
        assert arena.verify() == []


def test_at_max_kernel_pages_they_stay_and_merge_when_it_is_raised(
    area: Area, scanning: KsmSysfs
) -> None:
    with Arena(256, huge=False) as arena:
        arena.fill(content.groups(256, 4))
        scanning.max_kernel_pages = 10
        area.register(arena)
        scanning.wait_until(lambda s: s.kernel_pages_allocated == 10, 60, "10 kernel pages")
        scanning.wait_full_scans(3)
        assert scanning.kernel_pages_allocated == 10
        assert scanning.pages_shared == 30
        # One of each group of four waits in the index, three find it and are refused.
        assert kksmd.skipped(scanning)["limit"] == 54 * 3
        assert distinct(arena) == 256 - 30
        scanning.max_kernel_pages = 20
        scanning.wait_until(lambda s: s.kernel_pages_allocated == 20, 60, "20 kernel pages")
        scanning.max_kernel_pages = 0
        scanning.wait_until(lambda s: s.pages_shared == 192, 60, "192 pages shared")
        assert kksmd.skipped(scanning)["limit"] == 0
        assert distinct(arena) == 64
        assert arena.verify() == []


def test_closing_the_area_gives_every_page_its_own_frame(scanning: KsmSysfs) -> None:
    with KsmDevice() as device, Arena(1024) as arena:
        arena.fill(content.groups(1024, 64))
        with device.create_area() as area:
            area.register(arena)
            scanning.wait_until(lambda s: s.pages_shared == 1008, 60, "1008 pages shared")
        assert distinct(arena) == 1024
        assert (scanning.pages_shared, scanning.kernel_pages_allocated) == (0, 0)
        assert arena.verify() == []
        assert not any(entry.file for entry in pagemap.entries(None, arena.address, 1024))


def test_the_frames_that_a_merge_saves_are_free(area: Area, scanning: KsmSysfs) -> None:
    """A frame that still counts as anonymous, and that no process maps, would be lost for good."""
    with Arena(1024, huge=False) as arena:
        arena.fill(content.groups(1024, 64))
        before = pagemap.frames(None, arena.address, 1024)
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 1008, 60, "1008 pages shared")
        # kksmd drops its own reference before it scans the next page.
        scanning.wait_full_scans(1)
        flags, maps = pagemap.page_flags(before), pagemap.map_counts(before)
        lost = [pfn for pfn in before if PageFlag.ANON in flags[pfn] and maps[pfn] == 0]
        assert len(lost) < 10, f"{len(lost)} of 1024 frames are lost"


def test_soft_dirty_survives_a_merge(area: Area, scanning: KsmSysfs) -> None:
    """A tool that tracks writes must neither lose one nor see one that was none."""
    with Arena(64, huge=False) as arena:
        arena.fill(content.equal(64))
        Path("/proc/self/clear_refs").write_text("4")
        arena.fill(content.equal(32))
        before = [entry.soft_dirty for entry in pagemap.entries(None, arena.address, 64)]
        assert before == [True] * 32 + [False] * 32
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 63, 60, "63 pages shared")
        after = [entry.soft_dirty for entry in pagemap.entries(None, arena.address, 64)]
        assert after == before
