"""Every order of a change and a fault: KVM's table never maps a frame that the primary table has given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secondary import Secondary

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 14
NAMES = ("change", "fault")


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
    for number in order:
        alive[number] = next(running[number], running) is not running
    return primary, mmu, alive


def test_no_old_frame_is_left() -> None:
    waiting: list[tuple[int, ...]] = [()]
    done = 0
    while waiting:
        order = waiting.pop()
        primary, mmu, alive = play(order)
        steps = ", ".join(NAMES[number] for number in order)
        if not alive[0]:
            assert mmu.table.get(0) in (None, primary[0]), (
                f"After these steps the change has ended, but KVM's table still maps the old frame: {steps}. See "
                "start() and may_write(): which of them must prevent this?"
            )
        if not any(alive):
            assert mmu.table == {0: 2} or order[-1] == 0, (
                "After these steps the fault has ended last, so KVM's table must map the new frame, 2: "
                f"{steps}. The "
                f"table is {mmu.table}."
            )
            done += 1
        elif len(order) < LONGEST:
            waiting += [(*order, number) for number in (0, 1) if alive[number]]
    assert done > 20, (
        f"Only {done} orders of steps came to an end: may_write() returns False when a fault could write. It must "
        "return "
        "True if no change is in progress and none has ended since the fault began."
    )


def test_a_fault_alone_fills_the_table() -> None:
    mmu = Secondary({0: 7})
    steps = sum(1 for _ in zip(range(10), mmu.fault(0), strict=False))
    assert steps == 2, (
        "No change runs, so the fault must write its result at the first attempt; it tries again and again. See "
        "may_write()."
    )
    assert mmu.table == {0: 7}, (
        f"The fault must copy frame 7 into the table; the table is {mmu.table}."
    )


def test_a_change_empties_the_table() -> None:
    mmu = Secondary({0: 7})
    mmu.table[0] = 7
    mmu.start(0)
    assert mmu.table == {}, (
        f"start() must remove the entry of its address from the second table; the table is {mmu.table}. See 'Copies of "
        "page-table entries'."
    )
    fault = mmu.fault(0)
    for _ in zip(range(10), fault, strict=False):
        assert mmu.table == {}, (
            "Between start() and end(), no fault may write to the table: may_write() must return False."
        )
    assert mmu.table == {}, (
        "Between start() and end(), no fault may write to the table: may_write() must return False."
    )
    mmu.end()
    for _ in zip(range(10), fault, strict=False):
        pass
    assert mmu.table == {0: 7}, (
        f"After end(), the fault must succeed; the table is {mmu.table}. Does end() undo what start() has counted?"
    )
