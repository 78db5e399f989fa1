"""Find the pages that another process has, too, by the times of writes."""

import statistics


def suspects(rounds: list[list[int]], factor: float = 3.0) -> list[int]:
    """Return the numbers of the shared pages."""
    least = [min(times) for times in zip(*rounds, strict=True)]
    usual = statistics.median(least)
    return [page for page, time in enumerate(least) if time > factor * usual]
