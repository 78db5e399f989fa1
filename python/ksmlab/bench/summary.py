"""From samples to medians: of figures, and of ratios within a run."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ksmlab.bench.result import Sample


@dataclass(frozen=True)
class Spread:
    """What several runs came to.

    Attributes:
        median: The value to quote.
        least: The smallest.
        most: The largest.
        runs: How many there are.
    """

    median: float
    least: float
    most: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Make one of values; None if there are none."""
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True, order=True)
class Place:
    """Which figure it is: all runs of it are one Spread."""

    kernel: str
    factor: int
    workload: str
    engine: str
    metric: str


class Summary:
    """All samples, by what they measure.

    Args:
        samples: Of any kernels and runs.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        """Sort them."""
        self._runs: dict[Place, dict[int, float]] = defaultdict(dict)
        self._possible: dict[tuple[str, int, str, str], int] = {}
        order: dict[str, dict[str, None]] = {"kernel": {}, "workload": {}, "engine": {}}
        factors: set[int] = set()
        for sample in samples:
            for kind, seen in order.items():
                seen[getattr(sample, kind)] = None
            factors.add(sample.factor)
            place = (sample.kernel, sample.factor, sample.workload, sample.engine)
            self._possible[place] = sample.possible
            for metric, value in sample.figures.items():
                self._runs[Place(*place, metric)][sample.run] = value
        # In the order in which they were measured.
        self.kernels, self.workloads, self.engines = (tuple(seen) for seen in order.values())
        self.factors = tuple(sorted(factors))

    def engines_on(self, kernel: str) -> set[str]:
        """Give the engines that were measured on a kernel."""
        return {engine for there, _, _, engine in self._possible if there == kernel}

    def possible(self, kernel: str, workload: str, engine: str, factor: int = 1) -> int | None:
        """Say how many frames an engine could have saved; None if it was not measured."""
        return self._possible.get((kernel, factor, workload, engine))

    def spread(
        self, kernel: str, workload: str, engine: str, metric: str, factor: int = 1
    ) -> Spread | None:
        """Give the median, the least and the most of a figure; None if it was never measured."""
        return Spread.of(
            list(self._runs.get(Place(kernel, factor, workload, engine, metric), {}).values())
        )

    def median(
        self, kernel: str, workload: str, engine: str, metric: str, factor: int = 1
    ) -> float | None:
        """Give the median of a figure; None if it was never measured."""
        spread = self.spread(kernel, workload, engine, metric, factor)
        return spread.median if spread else None

    def ratio(
        self, kernel: str, workload: str, metric: str, *, over: str, under: str
    ) -> Spread | None:
        """Divide two engines' figures run by run; None if no run has both.

        Args:
            kernel: On which kernel.
            workload: On which workload, at factor 1.
            metric: Which figure.
            over: The engine that is divided.
            under: The engine that it is divided by.
        """
        above = self._runs.get(Place(kernel, 1, workload, over, metric), {})
        below = self._runs.get(Place(kernel, 1, workload, under, metric), {})
        return Spread.of([above[run] / below[run] for run in above if below.get(run)])

    def growth(
        self, kernel: str, workload: str, engine: str, metric: str, factor: int
    ) -> Spread | None:
        """Divide the cost per page with `factor` times the memory by the cost per page at factor 1, run by run.

        A ratio of 1 is linear growth.
        """
        small = self._runs.get(Place(kernel, 1, workload, engine, metric), {})
        large = self._runs.get(Place(kernel, factor, workload, engine, metric), {})
        return Spread.of([large[run] / factor / small[run] for run in large if small.get(run)])

    def places(self) -> list[tuple[Place, Spread]]:
        """Give everything, sorted."""
        found = []
        for place in sorted(self._runs):
            spread = Spread.of(list(self._runs[place].values()))
            if spread is not None:
                found.append((place, spread))
        return found
