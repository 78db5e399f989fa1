"""In no order of steps may the second table point to a frame that the first one has given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secondary import Secondary

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 14


def change(primary: dict[int, int], mmu: Secondary) -> Iterator[None]:
    """Replace the frame of address 0, as the driver does."""
    mmu.start(0)
    yield
    primary[0] = 2
    yield
    mmu.end()


def play(order: tuple[int, ...]) -> tuple[dict[int, int], Secondary, list[bool]]:
    primary = {0: 1}
    mmu = Secondary(primary)
    running = [change(primary, mmu), mmu.fault(0)]
    alive = [True, True]
    for who in order:
        alive[who] = next(running[who], running) is not running
    return primary, mmu, alive


def test_no_old_frame_is_left() -> None:
    waiting: list[tuple[int, ...]] = [()]
    done = 0
    while waiting:
        order = waiting.pop()
        primary, mmu, alive = play(order)
        if not alive[0]:
            assert mmu.table.get(0) in (None, primary[0]), (
                f"an old frame is left by this order: {order}"
            )
        if not any(alive):
            assert mmu.table == {0: 2} or order[-1] == 0
            done += 1
        elif len(order) < LONGEST:
            waiting += [(*order, who) for who in (0, 1) if alive[who]]
    assert done > 20


def test_a_fault_in_peace_fills_the_table() -> None:
    mmu = Secondary({0: 7})
    assert list(mmu.fault(0)) == [None, None]
    assert mmu.table == {0: 7}


def test_a_change_empties_the_table() -> None:
    mmu = Secondary({0: 7})
    list(mmu.fault(0))
    mmu.start(0)
    assert mmu.table == {}
    fault = mmu.fault(0)
    for _ in range(10):
        next(fault)
    assert mmu.table == {}
    mmu.end()
    list(fault)
    assert mmu.table == {0: 7}
