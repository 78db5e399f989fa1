"""The targets, and whether they are met. What is wanted is data: targets.toml."""

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
NOT_REACHED = "the driver does not get this far in the passes that it is given"
NEVER_IN_KERNEL = "the kernel's own KSM does not get this far in the passes that it is given"
NEVER_BOTH = "in no run do both get this far in the passes that they are given"
#: The memory of a growth target, in multiples of the usual.
LARGE = 16


@dataclass(frozen=True)
class Target:
    """What is wanted of one figure.

    Attributes:
        workload: A workload, or EVERY.
        metric: Which figure.
        versus: What it is compared with, one of VERSUS.
        number: The number wanted.
        at_least: Whether more is better than that; if not, less is.
        reason: Why it is not met, where that is known.
    """

    workload: str
    metric: str
    versus: str
    number: float
    at_least: bool
    reason: str = ""

    def holds(self, value: float) -> bool:
        """Say whether a value is good enough."""
        return value >= self.number if self.at_least else value <= self.number


@dataclass(frozen=True)
class Verdict:
    """A target beside what was measured.

    Attributes:
        kernel: On which kernel.
        workload: On which workload.
        metric: Which figure.
        engine: Which of our indexes.
        versus: What it is compared with.
        ours: Our median; None if there is none.
        in_kernel: The median of the kernel's own KSM that is compared with; None if there is none.
        ratio: What is compared with the target: the median of the ratios within the runs; None if there is none.
        least: The smallest of those ratios.
        most: The largest.
        target: The number wanted.
        at_least: Whether the ratio is to be at least that; if not, at most.
        met: Whether it is.
        reason: Why not, or why without a ratio.
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
        """The target for a person."""
        bound = "≥" if self.at_least else "≤"
        unit = " B" if METRICS[self.metric].unit == "bytes" and self.versus == "itself" else "x"
        return f"{bound} {self.target:g}{unit}"

    @property
    def found(self) -> str:
        """The ratio for a person."""
        if self.ratio is None:
            return NOTHING
        if self.versus == "itself":
            return METRICS[self.metric].show(self.ratio)
        # The bound of growth has two digits after the point, so it takes three to see what is over it.
        return f"{self.ratio:.3f}x" if self.versus == "growth" else f"{self.ratio:.2f}x"


def load(path: Path = TABLE) -> tuple[Target, ...]:
    """Read the table; an entry for several workloads becomes one target for each.

    Raises:
        ValueError: An entry is not as the head of the table says.
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
        raise ValueError(f"a target has one bound, and only words that are explained: {entry}")
    if entry["metric"] not in METRICS or entry["versus"] not in VERSUS:
        raise ValueError(f"there is no such figure, or nothing to compare with: {entry}")
    return Target(
        workload=str(entry["workload"]),
        metric=str(entry["metric"]),
        versus=str(entry["versus"]),
        number=float(entry[bounds[0]]),
        at_least=bounds == ["at_least"],
        reason=str(entry.get("reason", "")),
    )


def judge(summary: Summary, targets: tuple[Target, ...] | None = None) -> tuple[Verdict, ...]:
    """Put what was measured beside what is wanted, for each kernel.

    What was not measured at all has no verdict. What was measured and did not get to its goal has one.
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
    # A kernel without smart scan has one KSM of its own only.
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
    """Give what is compared with the number of a target, or None if that cannot be formed."""
    if target.versus == "growth":
        return summary.growth(kernel, workload, engine, target.metric, LARGE)
    if target.versus == "itself":
        return summary.spread(kernel, workload, engine, target.metric)
    if target.versus == LIMIT:
        return summary.ratio(kernel, workload, target.metric, over=engine, under=LIMIT)
    # How many times better: less of what is spent, more of what is gained.
    over, under = rival, engine
    if not METRICS[target.metric].less_is_better:
        over, under = under, over
    return summary.ratio(kernel, workload, target.metric, over=over, under=under)


def _without_ratio(
    summary: Summary, kernel: str, workload: str, engine: str, target: Target
) -> tuple[bool, str] | None:
    """Judge a target where one of the two compared runs has not reached the goal, so that there is no ratio.

    Returns:
        Whether the target is met, and why; None if the target does not apply.
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
