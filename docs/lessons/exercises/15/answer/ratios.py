"""How many times as much one engine needs as another."""

import statistics


def compare(samples: list[tuple[float, float]]) -> tuple[float, bool]:
    """Compare two engines."""
    # Within a run both suffer alike, so the machine's speed goes out of the ratio.
    ratios = [one / other for one, other in samples]
    return statistics.median(ratios), min(ratios) > 1 or max(ratios) < 1
