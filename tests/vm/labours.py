"""What is certain in the stress test: two processes that do each thing until it is seen to have happened.

What the actors (actors.py) do by chance the kernel may refuse, or may not get to. Here nothing counts
but what it has left: a frame, a page table's entry, a figure of /proc/vmstat.
"""

from __future__ import annotations

import mmap
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numa
from actors import NPAGES, PATIENCE, Actor, Stage, refusable

from ksmlab import content, pagemap
from ksmlab.memory import MADV_COLLAPSE, MADV_PAGEOUT, Arena
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

VMSTAT = Path("/proc/vmstat")
KHUGEPAGED = Path("/sys/kernel/mm/transparent_hugepage/khugepaged")
NUMA_BALANCING = Path("/proc/sys/kernel/numa_balancing")
#: Two huge pages.
COLLAPSED = 1024
#: Attempts to collapse what kksmd is merging meanwhile.
RACES = 5


def vmstat() -> dict[str, int]:
    """Return what the kernel has counted."""
    pairs = (line.split() for line in VMSTAT.read_text().splitlines())
    return {name: int(value) for name, value in pairs}


def until(happened: Callable[[], object], what: str) -> None:
    """Try something again and again until it has happened."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, f"for {PATIENCE:.0f} s, {what}"


def grows(*names: str) -> Callable[[], bool]:
    """Give a function that says whether all of some figures of /proc/vmstat have grown since now."""
    before = vmstat()

    def grown() -> bool:
        now = vmstat()
        return all(now[name] > before[name] for name in names)

    return grown


class Worker:
    """Merges, breaks, swaps, moves, compacts, and reads from a disk, one after the other."""

    def __init__(self, stage: Stage) -> None:
        self.actor = Actor(stage, f"{stage.seed} worker")
        self.nodes = stage.nodes
        self.labours = [self.merge, self.swap, self.direct, self.compact]
        if len(self.nodes) > 1:
            self.labours.append(self.move)
            if NUMA_BALANCING.exists():
                self.labours.append(self.balance)

    @property
    def arena(self) -> Arena:
        return self.actor.arena

    def kernel_pages(self) -> list[int]:
        """Return which pages of the arena map a kernel page."""
        entries = pagemap.entries(None, self.arena.address, NPAGES)
        return [page for page, entry in enumerate(entries) if entry.present and entry.file]

    def merge(self) -> None:
        """Equal pages become one; a write makes one of them private."""
        self.arena.fill(content.equal(NPAGES))
        merged = self.kernel_pages

        def written() -> bool:
            KsmSysfs.find().wait_until(lambda _: bool(merged()), PATIENCE, "a page to merge")
            # A write of 2 to run, or a lower limit, may already have unmerged the pages.
            for page in merged():
                shared = pagemap.entry(self.arena.page_address(page)).file
                self.arena.write(page, b"mine")
                if shared and not pagemap.entry(self.arena.page_address(page)).file:
                    return True
            return False

        until(written, "no write has made a merged page private")

    def swap(self) -> None:
        """Swap pages out and in, and check their content.

        A page that is accessed while it is written to swap is taken from the swap cache. The next time, it need not be
        written, so its frame is freed.
        """
        self.arena.fill(content.unique(NPAGES))
        grown = grows("pswpout", "pswpin")

        def swapped() -> bool:
            self.arena.advise(MADV_PAGEOUT)
            self.actor.check("swap")
            return grown()

        until(swapped, "no page was swapped in")

    def direct(self) -> None:
        """O_DIRECT, both ways, to and from pages that may be merged; the content is the proof."""
        self.actor.read_direct(0, NPAGES)
        self.actor.write_direct(0, NPAGES)

    def compact(self) -> None:
        """Every other page of what was neighbours is free: there is something to move together."""
        moved = grows("compact_migrate_scanned", "pgmigrate_success")

        def compacted() -> bool:
            self.arena.fill(content.unique(NPAGES))
            for page in range(0, NPAGES, 2):
                self.arena.discard(page, 1)
            Path("/proc/sys/vm/compact_memory").write_text("1")
            return moved()

        until(compacted, "compaction has moved no page")

    def move(self) -> None:
        """From one node to another."""
        self.arena.fill(content.unique(NPAGES))

        def moved() -> bool:
            here, there = (
                numa.move(self.arena.address, [node] * NPAGES) for node in self.nodes[:2]
            )
            both = zip(here, there, strict=True)
            return any([before, after] == self.nodes[:2] for before, after in both)

        until(moved, "no page has moved from node to node")

    def balance(self) -> None:
        """Work with memory until the kernel wants to know from which node."""
        looked = grows("numa_pte_updates")

        def worked() -> bool:
            self.arena.fill(content.cycle(NPAGES, 50))
            return looked()

        until(worked, "NUMA balancing has not scanned any page")

    def turn(self) -> Counter[str]:
        done: Counter[str] = Counter()
        for labour in self.labours:
            labour()
            self.actor.check(labour.__name__)
            done[labour.__name__] += 1
        return done


class Collapser:
    """Call MADV_COLLAPSE in a loop, on memory of no region and on memory that kksmd is merging."""

    def __init__(self, stage: Stage) -> None:
        self.actor = Actor(stage, f"{stage.seed} collapser")
        self.plain = Arena(COLLAPSED, huge=True)

    def turn(self) -> Counter[str]:
        until(self.collapsed, "no memory has been collapsed")
        done = Counter(collapse=1)
        # A new region may have huge pages until the first of its pages merges.
        self.actor.register_again(0, NPAGES)
        self.actor.arena.fill(content.cycle(NPAGES, 50))
        for _ in range(RACES):
            with refusable():
                self.actor.arena.advise(mmap.MADV_HUGEPAGE)
                self.actor.arena.advise(MADV_COLLAPSE)
                done["collapse while it merges"] += 1
            self.actor.check("MADV_COLLAPSE")
        return done

    def collapsed(self) -> bool:
        """Make small pages, have them made huge, and say whether they were."""
        self.plain.advise(mmap.MADV_NOHUGEPAGE)
        self.plain.discard()
        self.plain.fill(content.cycle(COLLAPSED, 50))
        self.plain.advise(mmap.MADV_HUGEPAGE)
        made = grows("thp_collapse_alloc")
        with refusable():
            self.plain.advise(MADV_COLLAPSE)
            assert self.plain.verify() == []
            if made():
                return True
        return False


def toil(worker: type[Worker | Collapser], stage: Stage, connection: Connection) -> None:
    """Take one turn after the other, at least one, until told to end; send what was done how often.

    An error is sent as text.
    """
    done: Counter[str] = Counter()
    try:
        own = worker(stage)
        while not done or not connection.poll():
            done += own.turn()
        connection.send(dict(done))
    except BaseException as error:  # noqa: BLE001
        connection.send(f"{worker.__name__}, seed {stage.seed}, after {dict(done)}: {error!r}")
