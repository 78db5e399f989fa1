"""The baseline: what each workload costs when the VM counts instructions, to be compared with what it costs now."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.bench.metrics import NOTHING
from ksmlab.bench.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ksmlab.bench.result import Sample

STORED = Path(__file__).with_name("baseline.json")
#: A workload may be so much dearer than it was, as a share.
TOLERANCE = 0.05
#: What is compared: figures that instructions make up.
COMPARED = ("cpu_to_goal_ns", "steady_pass_ns")


@dataclass(frozen=True)
class Cost:
    """One figure of the baseline.

    Attributes:
        kernel: On which kernel.
        workload: On which workload.
        engine: By which engine.
        metric: Which figure.
        ns: Nanoseconds of the VM's clock, which counts instructions.
    """

    kernel: str
    workload: str
    engine: str
    metric: str
    ns: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is the cost of."""
        return self.kernel, self.workload, self.engine, self.metric


@dataclass(frozen=True)
class Change:
    """One figure then and now.

    Attributes:
        cost: What it is now.
        before: Nanoseconds in the baseline; None if it is not there.
    """

    cost: Cost
    before: int | None

    @property
    def share(self) -> float | None:
        """How much dearer it is, as a share; negative is cheaper."""
        return self.cost.ns / self.before - 1 if self.before else None

    @property
    def too_dear(self) -> bool:
        """Whether it is dearer than may be."""
        return self.share is not None and self.share > TOLERANCE

    def __str__(self) -> str:
        """Show both and the difference, on one line of less than 80 characters."""
        cost = self.cost
        then = NOTHING if self.before is None else f"{self.before:,}"
        share = "new" if self.share is None else f"{self.share:+.1%}"
        return f"  {cost.workload:<13} {cost.engine:<4} {cost.metric:<14} {then:>15} {cost.ns:>15,} {share:>7}"


def costs(samples: Sequence[Sample]) -> tuple[Cost, ...]:
    """Take from samples what is compared."""
    return tuple(
        Cost(place.kernel, place.workload, place.engine, place.metric, round(spread.median))
        for place, spread in Summary(samples).places()
        if place.metric in COMPARED and place.factor == 1
    )


def read(path: Path = STORED) -> dict[tuple[str, str, str, str], Cost]:
    """Read a baseline; without a file it is empty."""
    if not path.exists():
        return {}
    found = (Cost(**entry) for entry in json.loads(path.read_text())["costs"])
    return {cost.key: cost for cost in found}


def compare(now: Sequence[Cost], path: Path = STORED) -> tuple[Change, ...]:
    """Put what things cost now beside what they cost in the baseline."""
    before = read(path)
    return tuple(Change(cost, before[cost.key].ns if cost.key in before else None) for cost in now)


def update(now: Sequence[Cost], path: Path = STORED) -> None:
    """Write what was measured into the baseline; the rest of it stays."""
    merged = read(path) | {cost.key: cost for cost in now}
    entries = [asdict(merged[key]) for key in sorted(merged)]
    path.write_text(json.dumps({"costs": entries}, indent=1) + "\n")
