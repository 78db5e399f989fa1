"""Which guesses somebody else has, by write times."""

import statistics


def suspects(rounds: list[list[int]], factor: float = 3.0) -> list[int]:
    """Say which pages are shared."""
    least = [min(times) for times in zip(*rounds, strict=True)]
    usual = statistics.median(least)
    return [page for page, time in enumerate(least) if time > factor * usual]
