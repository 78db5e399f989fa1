"""The figures: how an engine is watched while it merges, while it goes on, and afterwards."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab import pagemap
from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ksmlab.bench.engines import Engine, Look
    from ksmlab.bench.plan import Plan
    from ksmlab.bench.probe import Probe
    from ksmlab.bench.workloads import Memory
    from ksmlab.lab_device import PteLab

#: What counts as done: this share of the merges that are possible.
GOAL = 0.99
#: From so many cycles on, a part of one more makes no difference to speak of.
MANY_CYCLES = 40
#: Passes that one whole one is averaged over.
FULL_PASSES = 3
#: Seconds after which steady passes are long enough, however short they are.
STEADY_SECONDS = 6.0
#: Seconds without one complete pass after which an engine is stuck.
STUCK_SECONDS = 300.0
CURVE_POINTS = 48
WRITES = 512
GIB = 1 << 30


class StuckError(RuntimeError):
    """An engine does not finish a pass."""


class NotUnmergedError(RuntimeError):
    """Pages are merged that were to be unmerged."""


@dataclass(frozen=True)
class Reached:
    """How merging went.

    Attributes:
        cpu_ns: CPU nanoseconds to the goal; None if it was not reached.
        wall_ns: Nanoseconds to the goal; None likewise.
        curve: CPU nanoseconds and frames saved, along the way.
        saved: Frames saved in the end.
    """

    cpu_ns: float | None
    wall_ns: float | None
    curve: tuple[tuple[int, int], ...]
    saved: int


def goal_of(possible: int) -> int:
    """Return how many frames saved are as good as all."""
    return math.ceil(GOAL * possible)


def crossing(before: Look, after: Look, goal: int) -> tuple[float, float]:
    """Return the CPU time and the time when `goal` was reached, on a straight line between two looks."""
    share = (goal - before.saved) / (after.saved - before.saved)
    return (
        before.cpu_ns + share * (after.cpu_ns - before.cpu_ns),
        before.ns + share * (after.ns - before.ns),
    )


def thin(
    points: Sequence[tuple[int, int]], most: int = CURVE_POINTS
) -> tuple[tuple[int, int], ...]:
    """Leave out points, but neither the first nor the last, until `most` are left."""
    if len(points) <= most:
        return tuple(points)
    return tuple(points[round(at * (len(points) - 1) / (most - 1))] for at in range(most))


def percentile(ordered: Sequence[int], percent: int) -> int:
    """Return the nearest-rank percentile of sorted values."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def watch(engine: Engine, done: Callable[[Look], bool], interval: float) -> list[Look]:
    """Look at an engine, every so many seconds, until something is true of it.

    Raises:
        StuckError: It has not finished a pass for a long time.
    """
    looks = [engine.look()]
    moved = looks[0]
    while not done(looks[-1]):
        engine.wait(interval)
        looks.append(engine.look())
        if looks[-1].scans != moved.scans:
            moved = looks[-1]
        elif looks[-1].ns - moved.ns > STUCK_SECONDS * 1e9:
            raise StuckError(
                f"{engine.name} has finished no pass in {STUCK_SECONDS:.0f} s: {looks[-1]}. "
                "What was measured before is kept. Next: look at the kernel log, or use less memory"
            )
    return looks


def merge(engine: Engine, possible: int, plan: Plan) -> Reached:
    """Let an engine scan until it has merged what there is to merge."""
    goal = goal_of(possible)
    start = engine.look()
    engine.run()
    end = start.scans + (plan.patience if possible else 2)
    looks = [
        start,
        *watch(engine, lambda look: look.scans >= end or 0 < goal <= look.saved, plan.interval),
    ]
    curve = thin([(look.cpu_ns - start.cpu_ns, look.saved) for look in looks])
    last = looks[-1]
    if not possible or last.saved < goal:
        return Reached(None, None, curve, last.saved)
    first = next(number for number, look in enumerate(looks) if look.saved >= goal)
    cpu, wall = crossing(looks[first - 1], looks[first], goal)
    return Reached(cpu - start.cpu_ns, wall - start.ns, curve, last.saved)


def whole_cycles(passes: int, cycle: int) -> bool:
    """Say whether each page was looked at as often as any other, or nearly so."""
    return passes >= cycle and (passes % cycle == 0 or passes >= MANY_CYCLES * cycle)


def steady_pass(engine: Engine, plan: Plan) -> tuple[float, int]:
    """Measure passes in which little is left to do, once what can rest rests for as long as it ever does.

    Returns:
        CPU nanoseconds of one pass, on average, and over how many.
    """
    begin = engine.look().scans + engine.rest.settle + 1
    first = watch(engine, lambda look: look.scans >= begin, plan.interval)[-1]

    def enough(look: Look) -> bool:
        passes = look.scans - first.scans
        return (
            passes >= plan.passes
            and whole_cycles(passes, engine.rest.cycle)
            and (
                look.cpu_ns - first.cpu_ns >= plan.steady_ns
                or look.ns - first.ns >= STEADY_SECONDS * 1e9
            )
        )

    last = first
    for look in watch(engine, enough, plan.interval):
        # The first look that sees a pass complete is the nearest to its end.
        if look.scans > last.scans:
            last = look
    passes = last.scans - first.scans
    return (last.cpu_ns - first.cpu_ns) / passes, passes


def full_pass(engine: Engine, plan: Plan) -> float | None:
    """Measure passes in which nothing rests.

    The first that ends may have begun before, and end without a sleep. After the second there is a sleep with a look
    in it, and so there is after the three that are measured; in the one after those the first pages rest again.

    Returns:
        CPU nanoseconds of one, on average; None if the engine does not look at everything when it is told to.
    """
    if not engine.look_at_all():
        return None
    return pass_cost(engine, plan, skip=2, passes=FULL_PASSES)


def pass_cost(engine: Engine, plan: Plan, skip: int, passes: int) -> float:
    """Measure the passes that the engine makes from now on.

    Args:
        engine: A running engine.
        plan: How often to look.
        skip: Passes to wait for first; the first of them has begun already.
        passes: Passes to measure.

    Returns:
        CPU nanoseconds of one pass, on average.
    """
    begin = engine.look().scans + skip
    first = watch(engine, lambda look: look.scans >= begin, plan.interval)[-1]
    end = first.scans + passes
    last = watch(engine, lambda look: look.scans >= end, plan.interval)[-1]
    return (last.cpu_ns - first.cpu_ns) / (last.scans - first.scans)


def tlb_shootdowns(interrupts: Path = Path("/proc/interrupts")) -> int:
    """Return how many TLB shootdowns the CPUs have had."""
    for line in interrupts.read_text().splitlines():
        name, *counts = line.split()
        if name == "TLB:":
            return sum(int(count) for count in counts if count.isdigit())
    return 0


def shared_pages(memory: Memory) -> tuple[list[int], int]:
    """Find merged pages, by frame numbers.

    Returns:
        The pages whose frame another page has, too, and pages less frames: the frames saved.
    """
    frames = pagemap.frames(None, memory.address, memory.npages)
    uses = Counter(frames)
    del uses[0]
    return [page for page, frame in enumerate(frames) if uses[frame] > 1], uses.total() - len(uses)


def write_latency(times: Sequence[int]) -> dict[str, float]:
    """Summarise the nanoseconds of write faults.

    The mean leaves out the slowest hundredth, because one interrupt of the host would change it more than the driver.

    Args:
        times: Sorted, in nanoseconds.
    """
    slow = percentile(times, 99)
    usual = [ns for ns in times if ns <= slow]
    return {
        "write_fault_ns": sum(usual) / len(usual),
        "write_p50_ns": float(percentile(times, 50)),
        "write_p99_ns": float(slow),
    }


def time_per_page(action: Callable[[], None], npages: int) -> float:
    """Return the nanoseconds that a call takes, divided by a number of pages."""
    start = time.monotonic_ns()
    action()
    return (time.monotonic_ns() - start) / npages


def unmerge(
    engine: Engine, memory: Memory, merged: Sequence[int], plan: Plan, probe: Probe
) -> dict[str, float]:
    """Time each way in which a merged page becomes private again, while the scanner is stopped.

    First all pages are unmerged with run=2. Then the engine merges them again, some are written to, and the others are
    unmerged by taking the memory back: REMOVE for this driver, MADV_UNMERGEABLE for in-kernel KSM.

    Args:
        engine: The engine; it has stopped. On return it no longer has the memory.
        memory: The memory.
        merged: Its merged pages.
        plan: How to merge again.
        probe: Writes to pages.

    Raises:
        NotUnmergedError: A page is still merged.
    """
    figures = {"unmerge_page_ns": time_per_page(engine.unmerge_all, len(merged))}
    _check_unmerged(memory, f"{engine.name}: run=2")
    merge(engine, memory.possible, plan)
    engine.stop()
    again = shared_pages(memory)[0]
    step = max(2, len(again) // WRITES)
    written = again[::step][:WRITES]
    figures |= write_latency(
        probe.write_each([memory.address + page * PAGE_SIZE for page in written])
    )
    left = len(again) - len(written)
    figures["remove_page_ns"] = time_per_page(lambda: engine.remove(memory), left)
    _check_unmerged(memory, f"{engine.name}: removal")
    return figures


def _check_unmerged(memory: Memory, what: str) -> None:
    merged = shared_pages(memory)[0]
    if merged:
        raise NotUnmergedError(
            f"{what} left {len(merged)} of {memory.npages} pages merged, so its time means nothing. "
            "What was measured before is kept. Next: run tests/vm/test_unmerge.py"
        )


def measure(
    engine: Engine, memory: Memory, plan: Plan, probe: Probe
) -> tuple[dict[str, float], Reached]:
    """Measure one engine on one workload, from fresh memory to its last figure."""
    engine.add(memory)
    shootdowns = tlb_shootdowns()
    reached = merge(engine, memory.possible, plan)
    figures = {"tlb_shootdowns": float(tlb_shootdowns() - shootdowns)}
    if reached.cpu_ns is not None and reached.wall_ns is not None:
        gib = goal_of(memory.possible) * PAGE_SIZE / GIB
        figures |= {
            "cpu_to_goal_ns": reached.cpu_ns,
            "wall_to_goal_ns": reached.wall_ns,
            "cpu_s_per_gib": reached.cpu_ns / 1e9 / gib,
        }
    figures["steady_pass_ns"], passes = steady_pass(engine, plan)
    figures["steady_passes"] = float(passes)
    # Where nothing rests, each pass is one.
    steady = figures["steady_pass_ns"]
    full = steady if engine.rest.cycle == 1 else full_pass(engine, plan)
    if full is not None:
        figures["full_pass_ns"] = full
    engine.stop()
    merged, saved = shared_pages(memory)
    figures["frames_saved"] = float(saved)
    metadata = engine.metadata_bytes()
    if metadata is not None:
        figures["metadata_per_page"] = metadata / memory.npages
    if merged and memory.possible:
        figures |= unmerge(engine, memory, merged, plan, probe)
    engine.drop(memory)
    return figures, reached


def hash_plainly(memory: Memory, lab: PteLab) -> int:
    """Return the nanoseconds that a plain loop of xxh64 takes over the pages that are there."""
    if memory.stride == 1:
        return lab.hash(memory.address, memory.npages).ns
    return sum(
        lab.hash(memory.address + page * PAGE_SIZE, 1).ns
        for page in range(0, memory.npages, memory.stride)
    )
