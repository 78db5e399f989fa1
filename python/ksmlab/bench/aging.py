"""The workload near_duplicates: does an engine forget hash collisions?

The driver knows a page by a hash of a sample of it. Two pages collide if they have the same sample but differ
elsewhere. The workload makes many collisions while other memory is idle. It measures what they cost that memory, and
memory that is registered afterwards.

The collisions come in waves, because not all pages fit into the VM. Each wave is mapped, filled, registered, scanned,
removed and unmapped before the next one.
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

#: Families of one wave, of two pages each: 32 MiB.
WAVE = 4096
#: Words of a cache line, and lines of a page.
LINE_WORDS = 64 // WORD
LINES = WORDS // LINE_WORDS
#: Passes that a wave stays registered for: the one in progress, one in which its pages collide, and one more.
WAVE_PASSES = 3


def family_memory(families: int, first: int, seed: int) -> Memory:
    """Map and fill one wave.

    The two pages of a family differ in one word. It is in another cache line for each family, so that whichever lines
    the driver samples, the word is outside the sample of nearly all families.

    Args:
        families: How many; page i and page families + i are one family.
        first: The number of the first family: no two families have the same number, or any line in common.
        seed: Chooses the contents.
    """
    memory = Memory(2 * families)
    keys = content.unique(families, first)
    memory.fill(Content(seed), keys + keys)
    memory.possible = 0
    words = memory.view(families).cast("Q")
    for line in range(min(LINES, families)):
        # The first word of each line holds the key of the family.
        where = slice(line * (WORDS + LINE_WORDS) + 1, None, LINES * WORDS)
        words[where] = content.unique(len(range(*where.indices(len(words)))), first)
    return memory


def waves(families: int) -> Iterator[tuple[int, int]]:
    """Give the number of families of each wave, and the number of its first one."""
    for first in range(0, families, WAVE):
        yield min(WAVE, families - first), first + 1


def registered(engine: Engine, memory: Memory, plan: Plan) -> None:
    """Register memory in an area of its own while the engine runs, have it scanned, and remove it again."""
    with KsmDevice() as device, device.create_area() as area:
        area.register(memory)
        end = engine.look().scans + WAVE_PASSES
        figures.watch(engine, lambda look: look.scans >= end, plan.interval)
        area.remove()


def collide(engine: Engine, plan: Plan) -> None:
    """Have the engine meet all collisions of the plan, wave by wave."""
    for families, first in waves(plan.families):
        wave: AbstractContextManager[Memory] = family_memory(families, first, plan.seed + 1)
        with wave as memory:
            registered(engine, memory, plan)


def measure(engine: Engine, memory: Memory, plan: Plan) -> dict[str, float]:
    """Measure steady passes over unique pages before, right after, and long after collisions.

    Nothing writes to `run` until the last wave has been removed, because that alone wakes all idle chunks.

    Args:
        engine: The driver, just loaded.
        memory: Unique pages. They are idle while the collisions happen, and are then registered again.
        plan: How many collisions, and how to measure.
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
