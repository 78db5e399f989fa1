"""Frames saved and added, compared with a trial of all possible writes."""

import itertools

import pytest
from budget import frames_added, saved


@pytest.mark.parametrize("mappings", [[2], [2, 2], [5, 1, 3], [1, 1], []])
def test_saved(mappings: list[int]) -> None:
    wanted, got = sum(mappings) - len(mappings), saved(mappings)
    assert got == wanted, (
        f"Kernel pages with {mappings} mappings: {sum(mappings)} pages use {len(mappings)} frames, so {wanted} "
        "frames are "
        f"saved; saved() returned {got}. See 'A limit on kernel pages'."
    )


@pytest.mark.parametrize("mappings", [[2], [2, 2], [5, 1, 3], [1, 1], [4]])
@pytest.mark.parametrize("writes", range(10))
def test_worst_choice_of_writes(mappings: list[int], writes: int) -> None:
    pages = [kernel_page for kernel_page, count in enumerate(mappings) for _ in range(count)]
    if writes > len(pages):
        pytest.skip("more writes than pages")
    worst = 0
    for written in itertools.combinations(range(len(pages)), writes):
        left = [page for number, page in enumerate(pages) if number not in written]
        worst = max(worst, len(written) + len(set(left)) - len(mappings))
    got = frames_added(mappings, writes / len(pages))
    assert got == worst, (
        f"Kernel pages with {mappings} mappings, and {writes} of {len(pages)} mappings are written: in the worst case "
        f"{worst} more frames are in use afterwards; frames_added() returned {got}. A trial of all choices shows this. "
        "See hint 1."
    )


def test_number_of_writes_is_rounded_up() -> None:
    got = frames_added([4], 0.3)
    assert got == 2, (
        "4 mappings, of which 0.3 are written: that is 1.2, rounded up to 2 writes, and each allocates a frame. "
        f"frames_added() returned {got}."
    )
