"""The limit of a batch of page-table entries (WRPROTECT_MAX_PAGES of kernel/pte.h)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import kksmd
import pytest

from ksmlab import content, pagemap
from ksmlab.kprobes import Kprobes, Probe
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

MAX_PAGES = 32
#: The pages that one page table maps.
TABLE = 512
WRPROTECT = Probe("wrprotect", "ksm:ksm_page_wrprotect", "nr=%dx")


@contextmanager
def recorded(*more: Probe) -> Iterator[Kprobes]:
    """Record each page_wrprotect(), each TLB flush by kksmd, and more."""
    flush = Probe(
        "flush", "flush_tlb_mm_range", "start=%si end=%dx", f"common_pid == {kksmd.tid()}"
    )
    with Kprobes(WRPROTECT, flush, *more) as probes:
        yield probes


def merged(arena: Arena, pages: range) -> bool:
    """Return whether pages of an arena are merged.

    Their number of kernel pages may be higher than necessary: if the process holds its mmap lock for a moment when
    kksmd merges a batch, some of its pages merge later, with another kernel page.
    """
    entries = pagemap.entries(None, arena.address, arena.npages)
    return all(entries[page].file for page in pages)


@pytest.mark.parametrize(
    "step", [1, 7, 40, 255], ids=["side by side", "near", "far apart", "at both ends"]
)
def test_a_flush_spans_at_most_32_pages(area: Area, scanning: KsmSysfs, step: int) -> None:
    """The pages that exist are equal, and one batch of candidates can be all of a page table."""
    with Arena(2 * TABLE, huge=False) as arena, recorded() as probes:
        pages = range(0, arena.npages, step)
        for page in pages:
            arena.write(page, b"equal")
        area.register(arena)
        scanning.wait_until(lambda _: merged(arena, pages), 60, "all pages to merge")
        calls = probes.calls()
        spans = [
            (call.arguments["end"] - call.arguments["start"]) // PAGE_SIZE
            for call in calls
            if call.name == "flush"
        ]
        batches = [call.arguments["nr"] for call in calls if call.name == "wrprotect"]
        assert max(spans) <= MAX_PAGES
        assert max(batches) <= MAX_PAGES
        assert len(spans) == len(batches)
        assert sum(batches) >= len(pages)
        assert arena.verify() == []


def test_one_flush_covers_up_to_32_adjacent_pages(area: Area, scanning: KsmSysfs) -> None:
    """Some calls cover fewer pages, because new pages are held by the per-CPU lists for a while."""
    with Arena(TABLE, huge=False) as arena, recorded() as probes:
        arena.fill(content.equal(TABLE))
        area.register(arena)
        scanning.wait_until(lambda _: merged(arena, range(TABLE)), 60, "all pages to merge")
        names = [call.name for call in probes.calls()]
        assert TABLE / MAX_PAGES <= names.count("flush") <= 2 * TABLE / MAX_PAGES


def test_a_thread_faults_at_most_once_for_each_batch(area: Area, scanning: KsmSysfs) -> None:
    """A thread that finds an entry empty waits in one page fault until the batch is done."""
    with Arena(2 * TABLE, huge=False) as arena:
        arena.fill(content.equal(arena.npages))
        arena.verify()
        fault = Probe(
            "fault",
            "handle_mm_fault",
            "address=%si",
            f"address >= {arena.address:#x} && address < {arena.address + arena.size:#x}",
        )
        rounds: list[list[int]] = []

        def read_and_merged(_: KsmSysfs) -> bool:
            rounds.append(arena.verify())
            return merged(arena, range(arena.npages))

        with recorded(fault) as probes:
            area.register(arena)
            scanning.wait_until(read_and_merged, 120, "all pages to merge", interval=0)
            names = [call.name for call in probes.calls()]
        assert not any(rounds)
        assert names.count("wrprotect") >= arena.npages / MAX_PAGES
        assert names.count("fault") <= names.count("wrprotect")
