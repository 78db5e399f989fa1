"""The workload near_duplicates: pages that collide whichever lines the driver samples, and waves of them."""

from __future__ import annotations

from ksmlab.bench import aging
from ksmlab.libc import PAGE_SIZE

LINE = 64
FAMILIES = 130


def lines_that_differ(one: bytes, other: bytes) -> list[int]:
    return [
        at // LINE
        for at in range(0, PAGE_SIZE, LINE)
        if one[at : at + LINE] != other[at : at + LINE]
    ]


def test_pages_of_a_family_differ_in_one_line_which_is_another_one_for_each_family() -> None:
    with aging.family_memory(FAMILIES, first=1, seed=3) as memory:
        pages = [bytes(memory.view(page, 1)) for page in range(2 * FAMILIES)]
    found = [
        lines_that_differ(pages[number], pages[FAMILIES + number]) for number in range(FAMILIES)
    ]
    assert found == [[number % aging.LINES] for number in range(FAMILIES)]


def test_families_have_no_line_in_common() -> None:
    with (
        aging.family_memory(2, first=1, seed=3) as one,
        aging.family_memory(2, first=3, seed=3) as other,
    ):
        pages = [bytes(memory.view(page, 1)) for memory in (one, other) for page in range(2)]
    for number, page in enumerate(pages):
        for before in pages[:number]:
            assert len(lines_that_differ(page, before)) == aging.LINES


def test_waves_make_up_all_families() -> None:
    found = list(aging.waves(2 * aging.WAVE + 5))
    assert found == [(aging.WAVE, 1), (aging.WAVE, aging.WAVE + 1), (5, 2 * aging.WAVE + 1)]
