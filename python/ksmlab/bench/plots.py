"""Draw the plots of the report as shapes, which a template converts to SVG.

Sizes are in SVG user units. Colours are CSS classes, which the page defines for light and dark colour schemes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.bench.metrics import METRICS
from ksmlab.bench.plan import IN_KERNEL
from ksmlab.bench.tables import ENGINE_TITLES
from ksmlab.pictures.shapes import Plot, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ksmlab.bench.result import Sample
    from ksmlab.bench.summary import Spread, Summary

_LEFT = 210
_RIGHT = 130
_BAR_WIDTH = 520
_BAR = 13
_GAP = 12
_TOP = 8
_AXIS = 24
_SMALL_WIDTH, _SMALL_HEIGHT = 300, 190
_PAD = 38


@dataclass(frozen=True)
class _Scale:
    """A logarithmic axis, from a power of ten to a power of ten."""

    low: int
    high: int
    length: float

    @classmethod
    def over(cls, values: Sequence[float], length: float) -> _Scale:
        low = math.floor(math.log10(min(values)))
        return cls(low, max(low + 1, math.ceil(math.log10(max(values)))), length)

    def at(self, value: float) -> float:
        return (math.log10(value) - self.low) / (self.high - self.low) * self.length

    @property
    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def bars(summary: Summary, kernel: str, name: str) -> Plot | None:
    """Draw one metric: a bar for each engine on each workload, with a line from the least to the most value.

    Returns:
        The plot, which has a logarithmic axis, or None if no value is above zero.
    """
    groups: list[tuple[str, list[tuple[str, Spread]]]] = []
    for workload in summary.workloads:
        found = [
            (engine, summary.spread(kernel, workload, engine, name)) for engine in summary.engines
        ]
        kept = [(engine, spread) for engine, spread in found if spread and spread.least > 0]
        if kept:
            groups.append((workload, kept))
    if not groups:
        return None
    spreads = [spread for _, group in groups for _, spread in group]
    scale = _Scale.over([value for one in spreads for value in (one.least, one.most)], _BAR_WIDTH)
    height = _TOP + sum(len(group) * _BAR + _GAP for _, group in groups)
    metric = METRICS[name]
    shapes = []
    for tick in scale.ticks:
        x = _LEFT + scale.at(tick)
        shapes.append(Shape("line", "grid", (x, _TOP, x, height)))
        shapes.append(Shape("text", "tick middle", (x, height + 16), metric.show(tick)))
    y = float(_TOP)
    for workload, group in groups:
        shapes.append(
            Shape("text", "label end", (_LEFT - 8, y + len(group) * _BAR / 2 + 4), workload)
        )
        for engine, spread in group:
            shapes += _bar(scale, y, engine, spread, f"{metric.show(spread.median)}")
            y += _BAR
        y += _GAP
    width = _LEFT + _BAR_WIDTH + _RIGHT
    return Plot(f"{metric.title} on {kernel}", width, height + _AXIS, tuple(shapes))


def _bar(scale: _Scale, y: float, engine: str, spread: Spread, value: str) -> list[Shape]:
    length = max(1.0, scale.at(spread.median))
    least, most = _LEFT + scale.at(spread.least), _LEFT + scale.at(spread.most)
    middle = y + _BAR / 2 - 0.5
    told = f"{ENGINE_TITLES.get(engine, engine)}: {value}, {spread.runs} runs"
    return [
        Shape("rect", f"fill-{engine}", (_LEFT, y, length, _BAR - 2), told),
        Shape("line", "whisker", (least, middle, most, middle)),
        Shape("text", "value", (max(_LEFT + length, most) + 6, y + _BAR - 3), value),
    ]


def curves(samples: Sequence[Sample], kernel: str) -> list[Plot]:
    """Draw, for each workload, the share of the possible merges over the scanner's CPU time, in the first run."""
    chosen = [one for one in samples if (one.kernel, one.run, one.factor) == (kernel, 0, 1)]
    plots = []
    for workload in dict.fromkeys(one.workload for one in chosen):
        lines = [one for one in chosen if one.workload == workload and one.possible and one.curve]
        if lines:
            plots.append(_curve(f"{workload} on {kernel}", lines))
    return plots


def _curve(title: str, samples: Sequence[Sample]) -> Plot:
    most = max(sample.curve[-1][0] for sample in samples) or 1
    width, height = _SMALL_WIDTH - 2 * _PAD, _SMALL_HEIGHT - 2 * _PAD
    shapes = []
    for share in (0, 0.5, 1):
        y = _PAD + height * (1 - share)
        shapes.append(Shape("line", "grid", (_PAD, y, _PAD + width, y)))
        shapes.append(Shape("text", "tick end", (_PAD - 4, y + 4), f"{share:.0%}"))
    cpu = METRICS["cpu_to_goal_ns"].show(most)
    shapes.append(Shape("text", "tick end", (_PAD + width, _PAD + height + 14), cpu))
    for sample in samples:
        points = tuple(
            (_PAD + used / most * width, _PAD + height * (1 - min(1.0, saved / sample.possible)))
            for used, saved in sample.curve
        )
        told = ENGINE_TITLES.get(sample.engine, sample.engine)
        shapes.append(Shape("polyline", f"line-{sample.engine}", text=told, points=points))
    return Plot(title, _SMALL_WIDTH, _SMALL_HEIGHT, tuple(shapes))


def growth(summary: Summary, kernel: str, name: str) -> list[Plot]:
    """Draw, for each workload, the cost per page over the size of the memory."""
    plots = []
    for workload in summary.workloads:
        lines = {}
        for engine in summary.engines:
            values = [
                (factor, summary.growth(kernel, workload, engine, name, factor))
                for factor in summary.factors
            ]
            lines[engine] = [(factor, spread.median) for factor, spread in values if spread]
        if max(len(line) for line in lines.values()) > 1:
            title = f"{workload}, {METRICS[name].title} of a page, on {kernel}"
            plots.append(_growth(title, {key: line for key, line in lines.items() if line}))
    return plots


def _growth(title: str, lines: dict[str, list[tuple[int, float]]]) -> Plot:
    most = max(2.0, *(value for line in lines.values() for _, value in line))
    largest = max(factor for line in lines.values() for factor, _ in line)
    width, height = _SMALL_WIDTH - 2 * _PAD, _SMALL_HEIGHT - 2 * _PAD

    def place(factor: int, value: float) -> tuple[float, float]:
        across = math.log2(factor) / math.log2(largest)
        return _PAD + across * width, _PAD + height * (1 - value / most)

    shapes = []
    for value in (1.0, most):
        y = place(1, value)[1]
        shapes.append(Shape("line", "grid", (_PAD, y, _PAD + width, y)))
        shapes.append(Shape("text", "tick end", (_PAD - 4, y + 4), f"{value:.1f}"))
    for factor in dict.fromkeys(factor for line in lines.values() for factor, _ in line):
        x = place(factor, 0)[0]
        shapes.append(Shape("text", "tick middle", (x, _PAD + height + 14), f"{factor}x"))
    for engine, line in lines.items():
        points = tuple(place(factor, value) for factor, value in line)
        told = ENGINE_TITLES.get(engine, engine)
        shapes.append(Shape("polyline", f"line-{engine}", text=told, points=points))
    return Plot(title, _SMALL_WIDTH, _SMALL_HEIGHT, tuple(shapes))


def bar_plots(summary: Summary, kernel: str) -> list[Plot]:
    """Return the bar plots of the important metrics."""
    names = (
        "cpu_to_goal_ns", "steady_pass_ns", "full_pass_ns", "wall_to_goal_ns", "cpu_s_per_gib", "metadata_per_page",
        "write_p50_ns", "write_p99_ns", "tlb_shootdowns",
    )  # fmt: skip
    return [plot for name in names if (plot := bars(summary, kernel, name)) is not None]


def engines_in(summary: Summary) -> list[tuple[str, str]]:
    """Return the engines for a legend, each as the suffix of its CSS classes and its title."""
    order = sorted(summary.engines, key=lambda engine: engine != IN_KERNEL)
    return [(engine, ENGINE_TITLES.get(engine, engine)) for engine in order]
