"""Every order in which a merge, a device and another CPU can take their steps: no write may be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from merge_order import Memory, merge

if TYPE_CHECKING:
    from collections.abc import Iterator


def device(memory: Memory) -> Iterator[None]:
    """get_user_pages_fast(), and a transfer into the page that it got."""
    seen = memory.entry
    yield
    if seen != "page":
        return  # the slow way: it waits for the lock that the merge holds
    memory.refs += 1
    yield
    if memory.entry != seen:
        memory.refs -= 1
        return
    yield
    memory.content["page"] = "from the device"
    memory.written = True
    yield
    memory.refs -= 1


def cpu(memory: Memory) -> Iterator[None]:
    """A write by another thread of the process."""
    yield
    if memory.tlb == "page" or memory.entry == "page":
        memory.content["page"] = "from the CPU"
        memory.written = True


def orders(actors: list) -> Iterator[list[int]]:
    """Give every order of steps, as which actor takes each."""

    def play(order: list[int]) -> tuple[Memory, list[bool]]:
        memory = Memory()
        memory.written = False
        running = [actor(memory) for actor in actors]
        alive = [True] * len(actors)
        for who in order:
            alive[who] = next(running[who], running) is not running
        return memory, alive

    waiting: list[list[int]] = [[]]
    while waiting:
        order = waiting.pop()
        memory, alive = play(order)
        if not any(alive):
            yield order, memory
        waiting += [[*order, who] for who, more in enumerate(alive) if more]


@pytest.mark.parametrize("other", [device, cpu])
def test_no_write_is_lost(other) -> None:
    names = ("merge", other.__name__)
    for order, memory in orders([merge, other]):
        seen = memory.content.get(memory.entry)
        lost = memory.written and seen == "old"
        assert not lost, "a write is lost in this order: " + ", ".join(names[who] for who in order)
        assert memory.entry is not None, "the entry is left empty"


def test_merge_alone_maps_the_kernel_page() -> None:
    ((_, memory),) = orders([merge])
    assert memory.entry == "kernel page"


def test_with_a_reference_everything_stays() -> None:
    memory = Memory()
    memory.refs = 1
    for _ in merge(memory):
        pass
    assert memory.entry == "page"
