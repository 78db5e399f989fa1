"""Measure the workload near_duplicates, which tests whether the driver forgets hash collisions.

The driver identifies a page by a hash of a sample of its content. Two pages collide if they have the same sample but
differ elsewhere. The workload causes many collisions while other memory is idle. It measures how they change the cost
of scanning that memory, and of memory that is registered afterwards.

The pages that collide do not all fit into the VM, so they are processed in waves. Each wave is mapped, filled,
registered, scanned, removed and unmapped before the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksmlab import content
from ksmlab.bench import figures
from ksmlab.bench.workloads import Memory
from ksmlab.content import WORD, WORDS, Content
from ksmlab.device import KsmDevice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from ksmlab.bench.engines import Engine
    from ksmlab.bench.plan import Plan

#: The number of families in a wave. A family is two pages that collide, so a wave has 32 MiB.
WAVE = 4096
#: Words of a cache line, and lines of a page.
LINE_WORDS = 64 // WORD
LINES = WORDS // LINE_WORDS
#: The passes for which a wave is registered: the current one, one in which its pages collide, and one more.
WAVE_PASSES = 3


def family_memory(families: int, first: int, seed: int) -> Memory:
    """Map and fill one wave.

    The two pages of a family differ in one word. The cache line of that word varies from family to family, so that it
    is outside of the sample for nearly all families, whichever lines the driver samples.

    Args:
        families: The number of families. The pages i and families + i are a family.
        first: The number of the first family. Pages of families with different numbers have no equal cache lines.
        seed: The seed of the contents.
    """
    memory = Memory(2 * families)
    keys = content.unique(families, first)
    memory.fill(Content(seed), keys + keys)
    memory.possible = 0
    words = memory.view(families).cast("Q")
    for line in range(min(LINES, families)):
        # Write to the second word of the line; the first word contains the key of the family.
        where = slice(line * (WORDS + LINE_WORDS) + 1, None, LINES * WORDS)
        words[where] = content.unique(len(range(*where.indices(len(words)))), first)
    return memory


def waves(families: int) -> Iterator[tuple[int, int]]:
    """Yield the size of each wave, in families, and the number of its first family."""
    for first in range(0, families, WAVE):
        yield min(WAVE, families - first), first + 1


def registered(engine: Engine, memory: Memory, plan: Plan) -> None:
    """Register memory in a new area while the engine runs, wait until it has been scanned, and remove it."""
    with KsmDevice() as device, device.create_area() as area:
        area.register(memory)
        end = engine.look().scans + WAVE_PASSES
        figures.watch(engine, lambda look: look.scans >= end, plan.interval)
        area.remove()


def collide(engine: Engine, plan: Plan) -> None:
    """Cause all collisions of the plan, wave by wave."""
    for families, first in waves(plan.families):
        wave: AbstractContextManager[Memory] = family_memory(families, first, plan.seed + 1)
        with wave as memory:
            registered(engine, memory, plan)


def measure(engine: Engine, memory: Memory, plan: Plan) -> dict[str, float]:
    """Measure passes over unique pages before the collisions, right after them, and after registering the pages again.

    Nothing is written to `run` until the last wave has been removed, since such a write makes all idle chunks active.

    Args:
        engine: The driver, just loaded.
        memory: Unique pages. They are idle during the collisions, and are then registered again.
        plan: The number of collisions, and the settings of the measurement.

    Returns:
        The figures by the names of metrics.py.
    """
    engine.add(memory)
    engine.run()
    fresh, _ = figures.steady_pass(engine, plan)
    collide(engine, plan)
    woken = figures.pass_cost(engine, plan, skip=1, passes=engine.rest.cycle)
    engine.drop(memory)
    engine.add(memory)
    engine.run()
    steady, passes = figures.steady_pass(engine, plan)
    found = {
        "fresh_pass_ns": fresh,
        "steady_pass_ns": steady,
        "steady_passes": float(passes),
        "aging": steady / fresh,
        "waking": woken / fresh,
    }
    metadata = engine.metadata_bytes()
    if metadata is not None:
        found["metadata_per_page"] = metadata / memory.npages
    engine.drop(memory)
    return found
