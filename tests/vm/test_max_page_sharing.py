"""The limit of the number of mappings of one kernel page."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from children import child

from ksmlab import content, pagemap
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

#: A limit that a few pages reach.
LIMIT = 16


def frames(arena: Arena, pid: int | None = None) -> list[int]:
    return pagemap.frames(pid, arena.address, arena.npages)


def test_1000_equal_pages_use_4_kernel_pages(area: Area, scanning: KsmSysfs) -> None:
    assert scanning.max_page_sharing == 256
    with Arena(1000, huge=False) as arena:
        arena.fill(content.equal(1000))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared >= 996, 60, "1000 pages to merge")
        scanning.wait_full_scans(2)
        assert (scanning.pages_shared, scanning.kernel_pages_allocated) == (996, 4)
        mappings = pagemap.map_counts(frames(arena))
        assert len(mappings) == 4
        assert sum(mappings.values()) == 1000
        assert max(mappings.values()) <= 256
        assert arena.verify() == []


def test_limit_applies_to_later_merges_only(area: Area, scanning: KsmSysfs) -> None:
    with Arena(64, huge=False) as first, Arena(64, huge=False) as second:
        for arena in (first, second):
            arena.fill(content.equal(64))
        area.register(first)
        scanning.wait_until(lambda s: s.pages_shared == 63, 60, "the first half to merge")
        with scanning.settings(max_page_sharing=LIMIT):
            area.register(second)
            scanning.wait_until(lambda s: s.pages_shared == 63 + 60, 60, "the second half to merge")
            assert set(pagemap.map_counts(frames(first)).values()) == {64}
            assert set(pagemap.map_counts(frames(second)).values()) == {LIMIT}
            assert scanning.kernel_pages_allocated == 1 + 64 // LIMIT


def test_full_kernel_page_is_used_again_after_a_page_was_written(
    area: Area, scanning: KsmSysfs
) -> None:
    with Arena(LIMIT + 1, huge=False) as arena, scanning.settings(max_page_sharing=LIMIT):
        arena.fill(content.equal(LIMIT + 1))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == LIMIT - 1, 60, f"{LIMIT} pages to merge")
        # The last page finds that the kernel page is full.
        scanning.wait_full_scans(2)
        entries = pagemap.entries(None, arena.address, arena.npages)
        (left,) = [page for page, entry in enumerate(entries) if not entry.file]
        (kernel_page,) = set(frames(arena)) - {entries[left].pfn}
        arena.write((left + 1) % arena.npages, b"mine")
        scanning.wait_until(
            lambda _: pagemap.entry(arena.page_address(left)).pfn == kernel_page,
            60,
            "the last page to merge",
        )
        assert scanning.kernel_pages_allocated == 1
        assert arena.verify() == []


def test_mappings_that_fork_adds_count(area: Area, scanning: KsmSysfs) -> None:
    """No process has more mappings of a kernel page than the limit, although all processes together can have more."""

    def body(connection: Connection) -> None:
        connection.send("forked")
        connection.recv()
        connection.send(arena.verify())

    with Arena(LIMIT, huge=False) as arena, scanning.settings(max_page_sharing=LIMIT):
        arena.fill(content.equal(LIMIT))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == LIMIT - 1, 60, "all pages to merge")
        (shared,) = set(frames(arena))
        half = LIMIT // 2
        with child(body) as process:
            assert process.receive() == "forked"
            assert pagemap.map_counts([shared]) == {shared: 2 * LIMIT}
            arena.fill(content.unique(half, first=100))
            scanning.wait_until(lambda s: s.pages_shared == half - 1, 60, "the writes to be seen")
            # The child and the other half have as many mappings as the limit, and more.
            arena.fill(content.equal(half))
            scanning.wait_until(lambda s: s.kernel_pages_allocated == 2, 60, "a second page")
            scanning.wait_until(lambda s: s.pages_shared == LIMIT - 2, 60, "all pages to merge")
            assert Counter(frames(arena))[shared] == half
            assert set(frames(arena, process.pid)) == {shared}
            assert max(pagemap.map_counts(frames(arena)).values()) == LIMIT + half
            assert process.ask() == []
        assert arena.verify() == []


def test_kernel_pages_that_are_full_are_freed_with_their_process(scanning: KsmSysfs) -> None:
    """Full nodes are not in the index, and still leave no kernel page behind."""

    def body(connection: Connection) -> None:
        with KsmDevice() as device, device.create_area() as area, Arena(10 * LIMIT) as arena:
            arena.fill(content.equal(10 * LIMIT))
            area.register(arena)
            connection.send("registered")
            connection.recv()

    with scanning.settings(max_page_sharing=LIMIT), child(body) as process:
        process.receive()
        scanning.wait_until(lambda s: s.kernel_pages_allocated == 10, 60, "10 kernel pages")
        with scanning.settings(run=0):
            process.kill()
            scanning.wait_until(lambda s: s.kernel_pages_allocated == 0, 1, "all to be freed")
