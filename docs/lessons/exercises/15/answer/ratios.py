"""The ratio of the costs of two engines."""

import statistics


def compare(samples: list[tuple[float, float]]) -> tuple[float, bool]:
    """Compare two engines."""
    # Both samples of a run come from the same machine, so its speed cancels out.
    ratios = [one / other for one, other in samples]
    return statistics.median(ratios), min(ratios) > 1 or max(ratios) < 1
