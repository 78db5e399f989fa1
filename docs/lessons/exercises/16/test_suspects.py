"""Times with noise: what is slow once is chance, what is slow each time is not."""

import random

import pytest
from suspects import suspects


def measured(pages: int, shared: set[int], rounds: int, seed: int) -> list[list[int]]:
    """Make times as they are measured: 400 ns, 4,000 ns if shared, and one in ten interrupted."""
    chance = random.Random(seed)
    return [
        [
            int(chance.gauss(4000 if page in shared else 400, 40))
            + (chance.randrange(5_000, 80_000) if chance.random() < 0.1 else 0)
            for page in range(pages)
        ]
        for _ in range(rounds)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_the_shared_page_is_found_in_noise(seed: int) -> None:
    assert suspects(measured(200, {seed * 7}, 8, seed)) == [seed * 7]


@pytest.mark.parametrize("seed", range(20))
def test_where_nothing_is_shared_nothing_is_found(seed: int) -> None:
    assert suspects(measured(200, set(), 8, seed)) == []


def test_several() -> None:
    assert suspects(measured(50, {3, 30}, 8, 1)) == [3, 30]
