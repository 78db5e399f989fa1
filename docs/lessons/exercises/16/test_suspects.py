"""Random times of writes: noise makes some of them slow once, a shared page is slow in every round."""

import random

import pytest
from suspects import suspects


def measured(pages: int, shared: set[int], rounds: int, seed: int) -> list[list[int]]:
    """Return random times: about 400 ns, 4,000 ns for a shared page, and one write in ten is interrupted."""
    chance = random.Random(seed)
    return [
        [
            int(chance.gauss(4000 if page in shared else 400, 40))
            + (chance.randrange(5_000, 80_000) if chance.random() < 0.1 else 0)
            for page in range(pages)
        ]
        for _ in range(rounds)
    ]


def check(pages: int, shared: list[int], seed: int) -> None:
    """Compare the return value of suspects() with the shared pages."""
    got = suspects(measured(pages, set(shared), 8, seed))
    wrong = [page for page in got if page not in shared]
    missed = [page for page in shared if page not in got]
    assert not wrong, (
        f"{len(wrong)} of {pages} pages are not shared, but suspects() returned them, for example page {wrong[0]}. An "
        "interrupt made some of their writes slow. See 'Two processes that share nothing'."
    )
    assert not missed, (
        f"Page {missed[0]} is shared: each write to it takes ten times the usual time. suspects() did not return "
        "it. See "
        "'Two processes that share nothing'."
    )
    assert got == shared, f"The pages must be in order: {shared}. suspects() returned {got}."


@pytest.mark.parametrize("seed", range(20))
def test_a_shared_page_is_found_in_noise(seed: int) -> None:
    check(200, [seed * 7], seed)


@pytest.mark.parametrize("seed", range(20))
def test_no_page_is_found_if_none_is_shared(seed: int) -> None:
    check(200, [], seed)


def test_two_shared_pages_are_found() -> None:
    check(50, [3, 30], 1)
