"""What a walk has to find."""

import pytest
from walk import PAGE, Page, walk

HUGE, GIANT = 1 << 21, 1 << 30
TABLES = {0: {0: {0: {0: Page(7), 3: Page(9)}, 1: Page(512)}}, 1: {}}


@pytest.mark.parametrize(
    ("address", "frame", "following"),
    [
        (0, 7, PAGE),
        (100, 7, PAGE),
        (3 * PAGE, 9, 4 * PAGE),
        (PAGE, None, 2 * PAGE),
        (HUGE, 512, HUGE + PAGE),
        (HUGE + 5 * PAGE + 1, 517, HUGE + 6 * PAGE),
        (2 * HUGE, None, 3 * HUGE),
        (2 * HUGE + PAGE, None, 3 * HUGE),
        (GIANT, None, 2 * GIANT),
        (1 << 39, None, (1 << 39) + GIANT),
        (5 << 39, None, 6 << 39),
    ],
)
def test_walk(address: int, frame: int | None, following: int) -> None:
    assert walk(TABLES, address) == (frame, following)


def test_a_scan_meets_each_page_once_and_steps_over_holes() -> None:
    address, met, steps = 0, [], 0
    while address < 1 << 40:
        frame, address = walk(TABLES, address)
        steps += 1
        if frame is not None:
            met.append(frame)
    assert met == [7, 9, *range(512, 1024)]
    assert steps < 3000
