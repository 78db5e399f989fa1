"""Measure an engine on a workload: the merge, later passes over unchanged memory, and unmerging."""

from __future__ import annotations

import math
import statistics
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

#: The goal of a merge: this share of the frames that can be saved.
GOAL = 0.99
#: From this number of cycles on, an incomplete cycle at the end hardly changes the average.
MANY_CYCLES = 40
#: The number of full passes to average in a round, and the number of rounds.
FULL_PASSES = 3
FULL_ROUNDS = 5
#: The seconds after which the measurement of steady passes ends, even if they used little CPU time.
STEADY_SECONDS = 6.0
#: The seconds without a complete pass after which an engine is considered stuck.
STUCK_SECONDS = 300.0
CURVE_POINTS = 48
WRITES = 512
GIB = 1 << 30


class StuckError(RuntimeError):
    """An engine does not complete a pass."""


class NotUnmergedError(RuntimeError):
    """Pages are still merged after an engine has unmerged them."""


@dataclass(frozen=True)
class Reached:
    """The result of a merge.

    Attributes:
        cpu_ns: The CPU time until the goal was reached, in nanoseconds; None if it was not reached.
        wall_ns: The elapsed time until the goal was reached, in nanoseconds; None if it was not reached.
        curve: Pairs of CPU nanoseconds and frames saved, in the course of the merge.
        saved: The number of frames saved at the end.
    """

    cpu_ns: float | None
    wall_ns: float | None
    curve: tuple[tuple[int, int], ...]
    saved: int


def goal_of(possible: int) -> int:
    """Return the number of saved frames at which the goal is reached."""
    return math.ceil(GOAL * possible)


def crossing(before: Look, after: Look, goal: int) -> tuple[float, float]:
    """Return the CPU time and the time at which `goal` was reached, by linear interpolation between two readings."""
    share = (goal - before.saved) / (after.saved - before.saved)
    return (
        before.cpu_ns + share * (after.cpu_ns - before.cpu_ns),
        before.ns + share * (after.ns - before.ns),
    )


def thin(
    points: Sequence[tuple[int, int]], most: int = CURVE_POINTS
) -> tuple[tuple[int, int], ...]:
    """Return at most `most` of the points, at regular distances, including the first and the last."""
    if len(points) <= most:
        return tuple(points)
    return tuple(points[round(at * (len(points) - 1) / (most - 1))] for at in range(most))


def percentile(ordered: Sequence[int], percent: int) -> int:
    """Return the nearest-rank percentile of sorted values."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def watch(engine: Engine, done: Callable[[Look], bool], interval: float) -> list[Look]:
    """Read the counters of an engine at intervals, until a condition holds.

    Args:
        engine: The engine.
        done: The condition.
        interval: The seconds between two readings.

    Returns:
        All readings, of which only the last meets the condition.

    Raises:
        StuckError: The engine has not completed a pass for STUCK_SECONDS.
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
                f"{engine.name} has not completed a pass in {STUCK_SECONDS:.0f} s: {looks[-1]}. "
                "Earlier samples are not lost. Next: see the kernel log, or use less memory"
            )
    return looks


def merge(engine: Engine, possible: int, plan: Plan) -> Reached:
    """Run an engine until it has merged 99% of the pages that can merge, or plan.patience passes are over.

    Args:
        engine: The engine. It keeps running.
        possible: The number of frames that can be saved.
        plan: The settings of the measurement.
    """
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
    """Return whether all pages were scanned equally often, or nearly so, in a number of passes."""
    return passes >= cycle and (passes % cycle == 0 or passes >= MANY_CYCLES * cycle)


def steady_pass(engine: Engine, plan: Plan) -> tuple[float, int]:
    """Measure passes over unchanged memory, after the engine has begun to skip pages for the maximum time.

    Returns:
        The average CPU time of a pass in nanoseconds, and the number of passes that were averaged.
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
        # The first reading after the end of a pass is the closest to it.
        if look.scans > last.scans:
            last = look
    passes = last.scans - first.scans
    return (last.cpu_ns - first.cpu_ns) / passes, passes


def full_pass(engine: Engine, plan: Plan) -> float | None:
    """Measure passes that scan all pages.

    The first pass to end may have started earlier, and may end without a sleep. The engine sleeps after the second pass
    and after each of the three measured passes, so that the counters are read then. In the pass after these, the engine
    begins to skip pages again, so a round ends here. An interrupt of the clock adds up to 6% to a short round. The
    median of several rounds excludes it.

    Returns:
        The CPU time of a pass in nanoseconds, or None if the engine cannot be told to scan all pages.
    """
    rounds = []
    for _ in range(FULL_ROUNDS):
        if not engine.look_at_all():
            return None
        rounds.append(pass_cost(engine, plan, skip=2, passes=FULL_PASSES))
    return statistics.median(rounds)


def pass_cost(engine: Engine, plan: Plan, skip: int, passes: int) -> float:
    """Measure the next passes of an engine.

    Args:
        engine: A running engine.
        plan: The settings of the measurement.
        skip: The number of passes to wait for first, including the current one.
        passes: The number of passes to measure.

    Returns:
        The average CPU time of a pass, in nanoseconds.
    """
    begin = engine.look().scans + skip
    first = watch(engine, lambda look: look.scans >= begin, plan.interval)[-1]
    end = first.scans + passes
    last = watch(engine, lambda look: look.scans >= end, plan.interval)[-1]
    return (last.cpu_ns - first.cpu_ns) / (last.scans - first.scans)


def tlb_shootdowns(interrupts: Path = Path("/proc/interrupts")) -> int:
    """Return the number of TLB shootdowns of all CPUs since boot."""
    for line in interrupts.read_text().splitlines():
        name, *counts = line.split()
        if name == "TLB:":
            return sum(int(count) for count in counts if count.isdigit())
    return 0


def shared_pages(memory: Memory) -> tuple[list[int], int]:
    """Find merged pages by their frame numbers.

    Returns:
        The numbers of the pages that share a frame with another page, and the number of frames saved.
    """
    frames = pagemap.frames(None, memory.address, memory.npages)
    uses = Counter(frames)
    del uses[0]
    return [page for page, frame in enumerate(frames) if uses[frame] > 1], uses.total() - len(uses)


def write_latency(times: Sequence[int]) -> dict[str, float]:
    """Summarise the times of write faults.

    The mean excludes the slowest 1%, because a single interrupt of the host would change it more than the driver does.

    Args:
        times: The times in nanoseconds, sorted.

    Returns:
        The mean, the median and the 99th percentile, by the names of metrics.py.
    """
    slow = percentile(times, 99)
    usual = [ns for ns in times if ns <= slow]
    return {
        "write_fault_ns": sum(usual) / len(usual),
        "write_p50_ns": float(percentile(times, 50)),
        "write_p99_ns": float(slow),
    }


def time_per_page(action: Callable[[], None], npages: int) -> float:
    """Call a function, and return the elapsed time in nanoseconds per page."""
    start = time.monotonic_ns()
    action()
    return (time.monotonic_ns() - start) / npages


def unmerge(
    engine: Engine, memory: Memory, merged: Sequence[int], plan: Plan, probe: Probe
) -> dict[str, float]:
    """Time each way in which a merged page becomes private again, while the scanner is stopped.

    First, run=2 unmerges all pages. Then the engine merges them again, some pages are written to, and unregistering the
    memory unmerges the others: REMOVE for this driver, MADV_UNMERGEABLE for in-kernel KSM.

    Args:
        engine: The engine, which must be stopped. On return, the memory is not registered any more.
        memory: The memory.
        merged: The numbers of its merged pages.
        plan: The settings for merging again.
        probe: Writes to pages.

    Returns:
        The figures by the names of metrics.py.

    Raises:
        NotUnmergedError: A page is still merged after it should have been unmerged.
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
            f"{what} did not unmerge {len(merged)} of {memory.npages} pages, so its time is not valid. "
            "Earlier samples are not lost. Next: run tests/vm/test_unmerge.py"
        )


def measure(
    engine: Engine, memory: Memory, plan: Plan, probe: Probe
) -> tuple[dict[str, float], Reached]:
    """Measure all figures of one engine on one workload.

    Args:
        engine: The engine.
        memory: The memory of the workload, which is registered and, at the end, unregistered.
        plan: The settings of the measurement.
        probe: Writes to pages.

    Returns:
        The figures by the names of metrics.py, and the result of the merge.
    """
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
    # An engine that skips no pages makes only full passes.
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
    """Return the time, in nanoseconds, in which a plain loop hashes all present pages with xxh64."""
    if memory.stride == 1:
        return lab.hash(memory.address, memory.npages).ns
    return sum(
        lab.hash(memory.address + page * PAGE_SIZE, 1).ns
        for page in range(0, memory.npages, memory.stride)
    )
