"""Measure, in the guest, for how long page-table entries are empty during a merge, and the ranges of TLB flushes.

The driver clears the entries of a batch in ksm_page_wrprotect(), and has set all of them again when it calls
ksm_pte_change_end(). The time between the two calls is an upper bound of the time for which an entry is empty. It
includes the time of the probes themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.bench import figures
from ksmlab.bench.engines import thread_id
from ksmlab.bench.plan import HASH
from ksmlab.bench.workloads import WORKLOADS
from ksmlab.kprobes import Kprobes, Probe
from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ksmlab.bench.guest import Session
    from ksmlab.kprobes import Call

CLEAR = Probe("clear", "ksm:ksm_page_wrprotect", "nr=%dx")
DONE = Probe("done", "ksm:ksm_pte_change_end")


@dataclass(frozen=True)
class Batches:
    """The largest batches of one workload.

    Attributes:
        workload: The name of the workload.
        batches: The number of batches.
        entries: The largest number of entries that were empty at the same time.
        empty_us: The longest time for which an entry was empty, in microseconds.
        span: The largest range of a TLB flush, in pages.
    """

    workload: str
    batches: int
    entries: int
    empty_us: int
    span: int


def summarize(workload: str, calls: Iterable[Call]) -> Batches:
    """Find the largest batches.

    Args:
        workload: The name of the workload.
        calls: The recorded calls of one scanner, in order.
    """
    entries: list[int] = []
    times: list[float] = []
    spans: list[int] = []
    cleared: float | None = None
    for call in calls:
        if call.name == CLEAR.name:
            entries.append(call.arguments["nr"])
            cleared = call.at
        elif call.name == DONE.name and cleared is not None:
            times.append(call.at - cleared)
            cleared = None
        elif call.name == "flush":
            spans.append((call.arguments["end"] - call.arguments["start"]) // PAGE_SIZE)
    longest = round(max(times, default=0.0) * 1e6)
    return Batches(workload, len(entries), max(entries, default=0), longest, max(spans, default=0))


def measure(session: Session) -> Iterator[Batches]:
    """Merge the memory of each workload in which pages can merge, and find the largest batches."""
    for name in session.plan.workloads:
        with session.engine(HASH) as engine, session.memory(WORKLOADS[name], 1) as memory:
            if not memory.possible:
                continue
            own = f"common_pid == {thread_id(engine.thread)}"
            flush = Probe("flush", "flush_tlb_mm_range", "start=%si end=%dx", own)
            engine.add(memory)
            with Kprobes(CLEAR, DONE, flush) as probes:
                figures.merge(engine, memory.possible, session.plan)
                engine.stop()
                calls = probes.calls()
            engine.drop(memory)
            yield summarize(name, calls)
