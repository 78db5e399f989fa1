"""The ratio of the costs of two engines."""

import statistics


def compare(costs: list[tuple[float, float]]) -> tuple[float, bool]:
    """Compare two engines."""
    # Both costs of a run come from the same machine, so its speed cancels out.
    ratios = [one / other for one, other in costs]
    return statistics.median(ratios), min(ratios) > 1 or max(ratios) < 1
