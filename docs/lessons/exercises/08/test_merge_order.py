"""Every order in which a merge, a device and another CPU can run: no write may be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from merge_order import Memory, merge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Actor = Callable[[Memory], Iterator[None]]


def device(memory: Memory) -> Iterator[None]:
    """get_user_pages_fast(), and a transfer into the page."""
    seen = memory.entry
    yield
    if seen != "page":
        return  # The slow path: it waits for the lock that the merge holds.
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


def orders(actors: list[Actor]) -> Iterator[tuple[list[int], Memory]]:
    """Yield every order of steps, as a list of actor numbers, and the memory after it."""

    def play(order: list[int]) -> tuple[Memory, list[bool]]:
        memory = Memory()
        memory.written = False
        running = [actor(memory) for actor in actors]
        alive = [True] * len(actors)
        for number in order:
            alive[number] = next(running[number], running) is not running
        return memory, alive

    waiting: list[list[int]] = [[]]
    while waiting:
        order = waiting.pop()
        memory, alive = play(order)
        if not any(alive):
            yield order, memory
        waiting += [[*order, number] for number, more in enumerate(alive) if more]


@pytest.mark.parametrize("other", [device, cpu])
def test_no_write_is_lost(other: Actor) -> None:
    names = ("merge", {device: "device", cpu: "other CPU"}[other])
    for order, memory in orders([merge, other]):
        steps = ", ".join(names[number] for number in order)
        assert memory.entry is not None, (
            f"After these steps the entry is empty: {steps}. A check that fails must restore it: `memory.entry = "
            '"page"`.'
        )
        lost = memory.written and memory.content.get(memory.entry) == "old"
        assert not lost, (
            f"The write of the {names[1]} is lost in this order of steps: {steps}. The process maps the "
            f"{memory.entry}, which has the old content. "
            + (
                "Count the references only after no new one can be taken. See 'The helper'."
                if other is device
                else "Compare the pages only after the entry and the TLB are empty. See 'Three ways to write to "
                "a page'."
            )
        )


def test_a_merge_alone_maps_the_kernel_page() -> None:
    ((_, memory),) = orders([merge])
    assert memory.entry == "kernel page", (
        f"Nothing else runs and the pages are equal, so the entry must map the kernel page; it is {memory.entry!r}."
    )


def test_a_held_page_stays_mapped() -> None:
    memory = Memory()
    memory.refs = 1
    for _ in merge(memory):
        pass
    assert memory.entry == "page", (
        "A device holds a reference, so the merge must fail and the entry must map the page; it is "
        f"{memory.entry!r}. See "
        "'The helper'."
    )
