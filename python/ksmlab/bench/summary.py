"""Compute the medians of figures, and of the ratios of figures of the same run."""

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
    """The values of several runs.

    Attributes:
        median: The median.
        least: The smallest value.
        most: The largest value.
        runs: The number of runs.
    """

    median: float
    least: float
    most: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Summarise values; return None if there are none."""
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True, order=True)
class Place:
    """The identity of a figure. The values of all its runs are one Spread."""

    kernel: str
    factor: int
    workload: str
    engine: str
    metric: str


class Summary:
    """The figures of all samples.

    Args:
        samples: The samples, of any kernels and runs.

    Attributes:
        kernels: The kernels, in the order in which they were measured.
        workloads: The workloads, in the order in which they were measured.
        engines: The engines, in the order in which they were measured.
        factors: The multiples of the usual memory, sorted.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
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
        self.kernels, self.workloads, self.engines = (tuple(seen) for seen in order.values())
        self.factors = tuple(sorted(factors))

    def engines_on(self, kernel: str) -> set[str]:
        """Return the engines that were measured on a kernel."""
        return {engine for there, _, _, engine in self._possible if there == kernel}

    def possible(self, kernel: str, workload: str, engine: str, factor: int = 1) -> int | None:
        """Return the number of frames that an engine could have saved; None if it was not measured."""
        return self._possible.get((kernel, factor, workload, engine))

    def spread(
        self, kernel: str, workload: str, engine: str, metric: str, factor: int = 1
    ) -> Spread | None:
        """Return the median and the range of a figure; None if it was not measured."""
        return Spread.of(
            list(self._runs.get(Place(kernel, factor, workload, engine, metric), {}).values())
        )

    def median(
        self, kernel: str, workload: str, engine: str, metric: str, factor: int = 1
    ) -> float | None:
        """Return the median of a figure; None if it was not measured."""
        spread = self.spread(kernel, workload, engine, metric, factor)
        return spread.median if spread else None

    def ratio(
        self, kernel: str, workload: str, metric: str, *, over: str, under: str
    ) -> Spread | None:
        """Divide the figures of two engines, run by run.

        Args:
            kernel: The name of the kernel.
            workload: The name of the workload, at factor 1.
            metric: The name of the metric.
            over: The engine whose figure is the numerator.
            under: The engine whose figure is the denominator.

        Returns:
            The ratios of the runs, or None if no run has both figures.
        """
        above = self._runs.get(Place(kernel, 1, workload, over, metric), {})
        below = self._runs.get(Place(kernel, 1, workload, under, metric), {})
        return Spread.of([above[run] / below[run] for run in above if below.get(run)])

    def growth(
        self, kernel: str, workload: str, engine: str, metric: str, factor: int
    ) -> Spread | None:
        """Divide the cost per page with `factor` times the memory by the cost per page at factor 1, run by run.

        A ratio of 1 means that the total cost grows linearly with the memory.
        """
        small = self._runs.get(Place(kernel, 1, workload, engine, metric), {})
        large = self._runs.get(Place(kernel, factor, workload, engine, metric), {})
        return Spread.of([large[run] / factor / small[run] for run in large if small.get(run)])

    def places(self) -> list[tuple[Place, Spread]]:
        """Return all figures with their values, sorted."""
        found = []
        for place in sorted(self._runs):
            spread = Spread.of(list(self._runs[place].values()))
            if spread is not None:
                found.append((place, spread))
        return found
