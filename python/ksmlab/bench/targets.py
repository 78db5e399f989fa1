"""The targets, and whether they are met. What is wanted is data: targets.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.bench.metrics import METRICS, NOTHING
from ksmlab.bench.plan import HASH, IN_KERNEL, LIMIT, TREE

if TYPE_CHECKING:
    from ksmlab.bench.summary import Summary

TABLE = Path(__file__).with_name("targets.toml")
EVERY = "*"
VERSUS = (IN_KERNEL, LIMIT, "growth", "itself")
NOT_REACHED = "the driver does not get this far in the passes that it is given"
NEVER_IN_KERNEL = "the kernel's own KSM does not get this far in the passes that it is given"
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
        in_kernel: The median of the kernel's own KSM at its defaults; None if there is none.
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
        unit = " B" if self.versus == "itself" else "x"
        return f"{bound} {self.target:g}{unit}"

    @property
    def found(self) -> str:
        """The ratio for a person."""
        if self.ratio is None:
            return NOTHING
        if self.versus == "itself":
            return f"{self.ratio:.1f} B"
        # The bound of growth has two digits after the point, so it takes three to see what is over it.
        return f"{self.ratio:.3f}x" if self.versus == "growth" else f"{self.ratio:.2f}x"


def load(path: Path = TABLE) -> tuple[Target, ...]:
    """Read the table.

    Raises:
        ValueError: An entry is not as the head of the table says.
    """
    return tuple(_target(entry) for entry in tomllib.loads(path.read_text())["target"])


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


def ours(summary: Summary) -> str | None:
    """Give the engine that the targets are for: the hash index if it was measured, or else the tree."""
    return next((engine for engine in (HASH, TREE) if engine in summary.engines), None)


def judge(summary: Summary, targets: tuple[Target, ...] | None = None) -> tuple[Verdict, ...]:
    """Put what was measured beside what is wanted, for each kernel.

    What was not measured at all has no verdict; a figure that only we or only the kernel's own KSM has, has one.
    """
    wanted = load() if targets is None else targets
    engine = ours(summary)
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
    mine = summary.median(kernel, workload, engine, target.metric)
    theirs = summary.median(kernel, workload, IN_KERNEL, target.metric)
    ratio = least = most = None
    reason = ""
    if target.versus in (IN_KERNEL, LIMIT):
        over, under = (IN_KERNEL, engine) if target.versus == IN_KERNEL else (engine, LIMIT)
        spread = summary.ratio(kernel, workload, target.metric, over=over, under=under)
        if spread is not None:
            ratio, least, most = spread.median, spread.least, spread.most
    elif target.versus == "growth":
        ratio = least = most = summary.growth(kernel, workload, engine, target.metric, LARGE)
    else:
        ratio = least = most = mine
    if ratio is None:
        # One of the two may never have got there, which is a verdict; or it was not measured.
        if target.versus != IN_KERNEL or not target.metric.endswith("to_goal_ns"):
            return None
        if (mine is None) == (theirs is None):
            return None
        reason = NOT_REACHED if mine is None else NEVER_IN_KERNEL
        met = mine is not None
    else:
        met = target.holds(ratio)
    if not met:
        reason = target.reason or reason
    return Verdict(
        kernel, workload, target.metric, engine, target.versus, mine, theirs, ratio, least, most,
        target.number, target.at_least, met, reason,
    )  # fmt: skip
