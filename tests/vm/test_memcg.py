"""A kernel page is charged to the memory cgroup of the process whose page was scanned first."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import kksmd
from cgroups import Cgroup, cgroup
from children import child
from equal import NPAGES as NEQUAL
from swap import disk

from ksmlab import content, pagemap
from ksmlab.bench.workloads import Memory
from ksmlab.content import Content
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.patience import patient

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

PAGE = 4096
#: Pages of one step; each content occurs twice.
NPAGES = 4096
PAIRS = NPAGES // 2
MEBIBYTE = 1 << 20
#: Page tables of sparse memory. Each maps two equal pages.
TABLES = 512
TABLE_PAGES = 512
#: The function in which a thread sleeps that has charged memory to a cgroup above memory.high.
SLOWED_DOWN = "mem_cgroup_handle_over_high"


def worker(connection: Connection) -> None:
    """On each message, register another arena of pairs of equal pages; on "discard", free the pages of all arenas."""
    arenas: list[Arena] = []
    with KsmDevice() as device, device.create_area() as area:
        connection.send("ready")
        while (message := connection.recv()) is not None:
            if message == "discard":
                for arena in arenas:
                    arena.discard()
            else:
                arena = Arena(NPAGES, huge=False)
                arena.fill(content.groups(NPAGES, 2, first=len(arenas) << 32))
                area.register(arena)
                arenas.append(arena)
            connection.send("done")


def charged_per_kernel_page(group: Cgroup, ksm: KsmSysfs, before: int) -> float:
    return (group.current - before) / PAGE / ksm.kernel_pages_allocated


def test_kernel_pages_are_charged_to_the_cgroup_of_their_owner(scanning: KsmSysfs) -> None:
    with cgroup("owner") as group, child(worker) as process:
        process.receive()
        group.add(process.pid)
        before = group.current
        process.ask("register")
        scanning.wait_until(lambda s: s.pages_shared == PAIRS, 60, "all pairs to merge")
        # The cgroup is also charged for page tables, items and nodes, but not for the frames that were saved.
        assert 0.95 < charged_per_kernel_page(group, scanning, before) < 1.6
        merged = group.current
        process.ask("discard")
        scanning.wait_until(
            lambda _: merged - group.current > 0.95 * PAIRS * PAGE, 10, "the charges to disappear"
        )


def test_a_process_is_killed_at_its_limit_whatever_is_merged(scanning: KsmSysfs) -> None:
    limit = 32 * MEBIBYTE
    with cgroup("limited") as group, child(worker) as process:
        process.receive()
        group.add(process.pid)
        group.limit(limit)
        held = 0
        # Each step adds 8 MiB of kernel pages, so the limit is reached after at most four.
        for step in range(1, 9):
            try:
                process.send("register")
                process.receive()
            except (EOFError, BrokenPipeError):
                break

            def merged_or_dead(ksm: KsmSysfs, least: float = step * PAIRS * 0.98) -> bool:
                return ksm.pages_shared >= least or process.speaks(0)

            scanning.wait_until(merged_or_dead, 60, "the pairs of a step to merge")
            held = step * PAIRS * PAGE
            assert held <= limit
        assert process.finish() == -9
        assert group.event("oom_kill") == 1
        assert held >= limit // 4


def test_charges_stay_when_the_process_moves_and_its_cgroup_is_removed(scanning: KsmSysfs) -> None:
    with cgroup("first") as first, cgroup("second") as second, child(worker) as process:
        process.receive()
        first.add(process.pid)
        process.ask("register")
        scanning.wait_until(lambda s: s.pages_shared == PAIRS, 60, "all pairs to merge")
        second.add(process.pid)
        first.remove()
        assert scanning.pages_shared == PAIRS
        # From here on, new kernel pages are charged to the second cgroup.
        before = second.current
        process.ask("register")
        scanning.wait_until(lambda s: s.pages_shared == 2 * PAIRS, 60, "the new pairs to merge")
        assert second.current - before > 0.95 * PAIRS * PAGE
        process.ask("discard")
        scanning.wait_until(
            lambda s: not s.kernel_pages_allocated, 60, "the kernel pages to be freed"
        )


def test_run_2_without_memory_kills_its_writer_first(scanning: KsmSysfs) -> None:
    """The OOM killer chooses the process that asked for the copies, not the process whose pages are unmerged."""

    def writer(connection: Connection) -> None:
        connection.send("ready")
        connection.recv()
        scanning.run = 2
        connection.send("unmerged")

    def owner(connection: Connection) -> None:
        with KsmDevice() as device, device.create_area() as area, Arena(16384, huge=False) as arena:
            arena.fill(content.cycle(16384, 128))
            area.register(arena)
            connection.send("registered")
            connection.recv()

    with cgroup("pressed") as group, child(owner) as process, child(writer) as writing:
        assert process.receive(patient(120)) == "registered"
        writing.receive()
        scanning.wait_until(lambda s: s.pages_shared == 16384 - 128, 120, "all to merge")
        group.add(process.pid)
        group.add(writing.pid)
        # Copies of all pages would take 64 MiB.
        group.limit(group.current + 16 * MEBIBYTE)
        writing.send("go")
        assert writing.finish() == -9
        assert group.event("oom_kill") >= 1
        assert process.plight()
        group.limit(1 << 40)


def sparse(connection: Connection, cached: Path | None) -> None:
    """Fill sparse memory; on a message, fill the page cache from a file; on another one, register the memory."""
    with (
        KsmDevice() as device,
        device.create_area() as area,
        Memory(TABLES * TABLE_PAGES, TABLE_PAGES // 2) as memory,
        ExitStack() as stack,
    ):
        memory.fill(Content(1), content.groups(memory.present, 2))
        connection.send("filled")
        connection.recv()
        if cached:
            # The page cache of a disk is freed when the last descriptor is closed.
            file = stack.enter_context(cached.open("rb"))
            while file.read(MEBIBYTE):
                pass
        connection.send("cached")
        connection.recv()
        area.register(memory)
        connection.send("registered")
        connection.recv()


def test_pages_merge_in_a_cgroup_that_is_full_of_page_cache(
    scanning: KsmSysfs, tmp_path: Path
) -> None:
    """The metadata needs more memory than the cgroup has left, so the scanner has to reclaim some of the page cache."""
    limit = 64 * MEBIBYTE
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(2 * limit)
    with (
        disk(image) as loop,
        cgroup("full") as group,
        child(lambda connection: sparse(connection, loop)) as process,
    ):
        group.add(process.pid)
        process.receive()
        group.limit(limit)
        process.ask("cache")
        assert group.current > limit - MEBIBYTE
        process.ask("register")
        scanning.wait_until(lambda s: s.pages_shared == TABLES, 60, "all pairs to merge")
        assert limit - 2 * MEBIBYTE < group.current <= limit
        assert group.event("oom") == 0


def test_a_cgroup_above_memory_high_does_not_slow_down_the_scanner(
    scanning: KsmSysfs, area: Area, arena: Arena
) -> None:
    """The kernel slows down a thread that charges memory to such a cgroup, by up to two seconds at a time."""
    stacks: set[str] = set()

    def ended(ksm: KsmSysfs) -> bool:
        stacks.add((kksmd.find() / "stack").read_text())
        return any(SLOWED_DOWN in s for s in stacks) or ksm.pages_shared == TABLES + NEQUAL - 1

    with cgroup("high") as group, child(lambda connection: sparse(connection, None)) as process:
        group.add(process.pid)
        process.receive()
        group.slow_down_above(MEBIBYTE)
        process.ask("cache")
        process.ask("register")
        area.register(arena)
        scanning.wait_until(ended, 60, "the pages of both to merge")
        assert not [stack for stack in stacks if SLOWED_DOWN in stack]
        assert group.event("high") > 0


def test_a_cgroup_without_memory_does_not_slow_down_the_scanner(
    scanning: KsmSysfs, area: Area, arena: Arena
) -> None:
    """Nothing of the cgroup can be reclaimed, and each attempt to do so takes long."""
    with (
        cgroup("no_memory") as group,
        child(lambda connection: sparse(connection, None)) as process,
    ):
        group.add(process.pid)
        process.receive()
        group.limit(group.current + MEBIBYTE)
        process.ask("cache")
        process.ask("register")
        scanning.wait_until(lambda s: s.skipped()["no_memory"] > 0, 60, "an allocation to fail")
        area.register(arena)
        scanning.wait_until(
            lambda _: len(set(pagemap.frames(None, arena.address, NEQUAL))) == 1, 20, "one frame"
        )
        scanning.wait_full_scans(3, 20)
        assert group.event("oom_kill") == 0
