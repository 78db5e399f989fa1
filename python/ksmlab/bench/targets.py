"""Read the targets of targets.toml, and check whether results meet them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.bench.metrics import METRICS, NOTHING
from ksmlab.bench.plan import IN_KERNEL, IN_KERNEL_PLAIN, LIMIT, judged

if TYPE_CHECKING:
    from ksmlab.bench.summary import Spread, Summary

TABLE = Path(__file__).with_name("targets.toml")
EVERY = "*"
VERSUS = (IN_KERNEL, IN_KERNEL_PLAIN, LIMIT, "growth", "itself")
NOT_REACHED = "the driver did not reach the goal within the limit of passes"
NEVER_IN_KERNEL = "in-kernel KSM did not reach the goal within the limit of passes"
NEVER_BOTH = "no run in which both engines reached the goal within the limit of passes"
#: The memory of a growth target, as a multiple of the usual memory.
LARGE = 16


@dataclass(frozen=True)
class Target:
    """A target for one figure.

    Attributes:
        workload: The name of a workload, or EVERY.
        metric: The name of the metric.
        versus: What the figure is compared with; one of VERSUS.
        number: The bound.
        at_least: Whether the bound is a lower bound; otherwise it is an upper bound.
        reason: The reason why the target is missed, if it is known.
    """

    workload: str
    metric: str
    versus: str
    number: float
    at_least: bool
    reason: str = ""

    def holds(self, value: float) -> bool:
        """Return whether a value meets the target."""
        return value >= self.number if self.at_least else value <= self.number


@dataclass(frozen=True)
class Verdict:
    """A target and the measured values.

    Attributes:
        kernel: The name of the kernel.
        workload: The name of the workload.
        metric: The name of the metric.
        engine: The driver's index that was measured.
        versus: What the figure is compared with.
        ours: The median of this driver; None if there is none.
        in_kernel: The median of in-kernel KSM; None if there is none.
        ratio: The value that is compared with the target: the median of the ratios of all runs, or None if there is
            none.
        least: The smallest of these ratios.
        most: The largest of these ratios.
        target: The bound.
        at_least: Whether the bound is a lower bound; otherwise it is an upper bound.
        met: Whether the target is met.
        reason: The reason why it is missed, or why it is met without a ratio.
    """

    kernel: str
    workload: str
    metric: str
    engine: str
    versus: str
    ours: float | None
    in_kernel: float | None
    ratio: float | None
    least: float | None
    most: float | None
    target: float
    at_least: bool
    met: bool
    reason: str = ""

    @property
    def wanted(self) -> str:
        """The bound as text."""
        bound = "≥" if self.at_least else "≤"
        unit = " B" if METRICS[self.metric].unit == "bytes" and self.versus == "itself" else "x"
        return f"{bound} {self.target:g}{unit}"

    @property
    def found(self) -> str:
        """The ratio as text."""
        if self.ratio is None:
            return NOTHING
        if self.versus == "itself":
            return METRICS[self.metric].show(self.ratio)
        # The bound of growth has two decimal places, so show three to make a small excess visible.
        return f"{self.ratio:.3f}x" if self.versus == "growth" else f"{self.ratio:.2f}x"


def load(path: Path = TABLE) -> tuple[Target, ...]:
    """Read the targets. An entry for several workloads becomes a target for each of them.

    Args:
        path: The file, whose opening comment describes the entries.

    Raises:
        ValueError: An entry is not valid.
    """
    entries = tomllib.loads(path.read_text())["target"]
    return tuple(
        _target({**entry, "workload": workload})
        for entry in entries
        for workload in _workloads(entry)
    )


def _workloads(entry: dict[str, str | float | list[str]]) -> list[str]:
    named = entry["workload"]
    return named if isinstance(named, list) else [str(named)]


def _target(entry: dict[str, str | float]) -> Target:
    bounds = [name for name in ("at_least", "at_most") if name in entry]
    known = {"workload", "metric", "versus", "reason", "at_least", "at_most"}
    if len(bounds) != 1 or set(entry) - known:
        raise ValueError(
            f"a target must have either at_least or at_most, and no unknown keys: {entry}"
        )
    if entry["metric"] not in METRICS or entry["versus"] not in VERSUS:
        raise ValueError(f"a target has an unknown metric or an unknown value of versus: {entry}")
    return Target(
        workload=str(entry["workload"]),
        metric=str(entry["metric"]),
        versus=str(entry["versus"]),
        number=float(entry[bounds[0]]),
        at_least=bounds == ["at_least"],
        reason=str(entry.get("reason", "")),
    )


def judge(summary: Summary, targets: tuple[Target, ...] | None = None) -> tuple[Verdict, ...]:
    """Compare results with the targets, for each kernel.

    A figure that was not measured has no verdict. A figure that is missing because the goal was not reached has one.

    Args:
        summary: The results.
        targets: The targets; by default those of targets.toml.
    """
    wanted = load() if targets is None else targets
    engine = judged(summary.engines)
    if engine is None:
        return ()
    own = {(target.workload, target.metric, target.versus) for target in wanted}
    found = []
    for kernel in summary.kernels:
        for target in wanted:
            for workload in summary.workloads:
                key = (workload, target.metric, target.versus)
                if target.workload == workload or (target.workload == EVERY and key not in own):
                    verdict = _verdict(summary, kernel, workload, engine, target)
                    if verdict is not None:
                        found.append(verdict)
    return tuple(found)


def _verdict(
    summary: Summary, kernel: str, workload: str, engine: str, target: Target
) -> Verdict | None:
    # A kernel without smart scan has only one variant of in-kernel KSM.
    plain = target.versus == IN_KERNEL_PLAIN and IN_KERNEL_PLAIN in summary.engines_on(kernel)
    rival = IN_KERNEL_PLAIN if plain else IN_KERNEL
    mine = summary.median(kernel, workload, engine, target.metric)
    theirs = summary.median(kernel, workload, rival, target.metric)
    spread = _ratio(summary, kernel, workload, engine, target, rival)
    reason = ""
    if spread is None:
        found = _without_ratio(summary, kernel, workload, engine, target)
        if found is None:
            return None
        met, reason = found
    else:
        met = target.holds(spread.median)
    if not met:
        reason = target.reason or reason
    ratio, least, most = (spread.median, spread.least, spread.most) if spread else (None,) * 3
    return Verdict(
        kernel, workload, target.metric, engine, target.versus, mine, theirs, ratio, least, most,
        target.number, target.at_least, met, reason,
    )  # fmt: skip


def _ratio(
    summary: Summary, kernel: str, workload: str, engine: str, target: Target, rival: str
) -> Spread | None:
    """Return the value to compare with the bound of a target, or None if a figure is missing."""
    if target.versus == "growth":
        return summary.growth(kernel, workload, engine, target.metric, LARGE)
    if target.versus == "itself":
        return summary.spread(kernel, workload, engine, target.metric)
    if target.versus == LIMIT:
        return summary.ratio(kernel, workload, target.metric, over=engine, under=LIMIT)
    # A ratio above 1 means that the driver is better: it needs less, or it saves more.
    over, under = rival, engine
    if not METRICS[target.metric].less_is_better:
        over, under = under, over
    return summary.ratio(kernel, workload, target.metric, over=over, under=under)


def _without_ratio(
    summary: Summary, kernel: str, workload: str, engine: str, target: Target
) -> tuple[bool, str] | None:
    """Judge a target that has no ratio, because one of the compared engines did not reach the goal.

    Returns:
        Whether the target is met, and the reason; None if the target does not apply.
    """
    if target.versus not in (IN_KERNEL, "growth") or not target.metric.endswith("to_goal_ns"):
        return None
    growth = target.versus == "growth"
    against = (engine, LARGE) if growth else (IN_KERNEL, 1)
    if not summary.possible(kernel, workload, engine):
        return None
    if summary.possible(kernel, workload, *against) is None:
        return None
    mine = summary.median(kernel, workload, engine, target.metric)
    theirs = summary.median(kernel, workload, IN_KERNEL, target.metric)
    if growth or (mine is None and theirs is not None):
        return False, NOT_REACHED
    if mine is not None and theirs is None:
        return True, NEVER_IN_KERNEL
    return False, NEVER_BOTH
