"""What sharing owes, compared with trying everything."""

import itertools

import pytest
from budget import may_be_wanted, saved


@pytest.mark.parametrize("mappings", [[2], [2, 2], [5, 1, 3], [1, 1], []])
def test_saved(mappings: list[int]) -> None:
    assert saved(mappings) == sum(mappings) - len(mappings)


@pytest.mark.parametrize("mappings", [[2], [2, 2], [5, 1, 3], [1, 1], [4]])
@pytest.mark.parametrize("writes", range(10))
def test_no_way_to_write_wants_more(mappings: list[int], writes: int) -> None:
    pages = [kernel_page for kernel_page, count in enumerate(mappings) for _ in range(count)]
    if writes > len(pages):
        pytest.skip("more writes than pages")
    worst = 0
    for written in itertools.combinations(range(len(pages)), writes):
        left = [page for number, page in enumerate(pages) if number not in written]
        worst = max(worst, len(written) + len(set(left)) - len(mappings))
    assert may_be_wanted(mappings, writes / len(pages)) == worst
