"""Compare the instruction counts of workloads with a stored baseline."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.bench.metrics import NOTHING
from ksmlab.bench.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ksmlab.bench.result import Results, Sample
    from ksmlab.bench.runner import Wanted

STORED = Path(__file__).with_name("baseline.json")
#: The share by which a figure may exceed its baseline.
TOLERANCE = 0.05
#: The metrics that are compared. The VM's clock advances by 2 ns for each instruction.
COMPARED = (
    "cpu_to_goal_ns",
    "steady_pass_ns",
    "full_pass_ns",
    "write_fault_ns",
    "unmerge_page_ns",
    "remove_page_ns",
)


@dataclass(frozen=True)
class Cost:
    """One figure of the baseline.

    Attributes:
        kernel: The name of the kernel.
        workload: The name of the workload.
        engine: The name of the engine.
        metric: The name of the metric.
        ns: The value, in nanoseconds of the VM's clock, which counts instructions.
    """

    kernel: str
    workload: str
    engine: str
    metric: str
    ns: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The identity of the figure: kernel, workload, engine and metric."""
        return self.kernel, self.workload, self.engine, self.metric


@dataclass(frozen=True)
class Change:
    """A figure of this run and its baseline.

    Attributes:
        cost: The figure of this run.
        before: The value in the baseline, in nanoseconds; None if the baseline does not have it.
    """

    cost: Cost
    before: int | None

    @property
    def share(self) -> float | None:
        """The relative increase over the baseline, negative for a decrease; None without a baseline."""
        return self.cost.ns / self.before - 1 if self.before else None

    @property
    def regressed(self) -> bool:
        """Whether the figure exceeds its baseline by more than TOLERANCE."""
        return self.share is not None and self.share > TOLERANCE

    def __str__(self) -> str:
        """Return both values and the difference, on one line of less than 80 characters."""
        cost = self.cost
        then = NOTHING if self.before is None else f"{self.before:,}"
        share = "new" if self.share is None else f"{self.share:+.1%}"
        return f"  {cost.workload:<15} {cost.engine:<4} {cost.metric:<15} {then:>13} {cost.ns:>13,} {share:>7}"


def costs(samples: Sequence[Sample]) -> tuple[Cost, ...]:
    """Return the figures of samples that are compared with the baseline: medians at factor 1."""
    return tuple(
        Cost(place.kernel, place.workload, place.engine, place.metric, round(spread.median))
        for place, spread in Summary(samples).places()
        if place.metric in COMPARED and place.factor == 1
    )


@dataclass(frozen=True)
class Baseline:
    """The content of the baseline file.

    Attributes:
        releases: The release (uname -r) of each kernel, by its name.
        costs: The figures, by `Cost.key`.
    """

    releases: dict[str, str]
    costs: dict[tuple[str, str, str, str], Cost]


@dataclass(frozen=True)
class Comparison:
    """The comparison of this run with the baseline.

    Attributes:
        changes: The figures of this run, with their baselines.
        missing: The figures of the baseline that this run should have, but lacks, because a goal was not reached.
        other_releases: The release in the baseline and the release now, by kernel name, where they differ.
    """

    changes: tuple[Change, ...]
    missing: tuple[Cost, ...]
    other_releases: dict[str, tuple[str, str]]

    @property
    def regressions(self) -> tuple[Cost, ...]:
        """The figures that exceed their baseline by more than TOLERANCE."""
        return tuple(change.cost for change in self.changes if change.regressed)

    @property
    def new(self) -> tuple[Cost, ...]:
        """The figures that are not in the baseline."""
        return tuple(change.cost for change in self.changes if change.before is None)


def read(path: Path = STORED) -> Baseline:
    """Read a baseline. If the file does not exist, the baseline is empty."""
    if not path.exists():
        return Baseline({}, {})
    data = json.loads(path.read_text())
    found = (Cost(**entry) for entry in data["costs"])
    return Baseline(data["releases"], {cost.key: cost for cost in found})


def compare(results: Results, wanted: Wanted, path: Path = STORED) -> Comparison:
    """Compare results with the baseline.

    Args:
        results: The results.
        wanted: The kernels, engines and workloads that were to be measured. Figures of them that are in the baseline
            but not in the results are reported as missing.
        path: The file of the baseline.
    """
    stored = read(path)
    now = {cost.key: cost for cost in costs(results.samples)}
    there = {key: one.ns for key, one in stored.costs.items()}
    return Comparison(
        tuple(Change(one, there.get(key)) for key, one in now.items()),
        tuple(
            one
            for key, one in stored.costs.items()
            if key not in now
            and one.kernel in wanted.kernels
            and one.workload in wanted.workloads
            and one.engine in wanted.engines
        ),
        {
            guest.kernel: (stored.releases[guest.kernel], guest.release)
            for guest in results.guests
            if stored.releases.get(guest.kernel, guest.release) != guest.release
        },
    )


def update(results: Results, wanted: Wanted, path: Path = STORED) -> None:
    """Store results in the baseline. Figures that were not to be measured are kept.

    Args:
        results: The results.
        wanted: The kernels, engines and workloads that were to be measured.
        path: The file of the baseline.
    """
    stored = read(path)
    gone = {one.key for one in compare(results, wanted, path).missing}
    now = {cost.key: cost for cost in costs(results.samples)}
    merged = {key: one for key, one in stored.costs.items() if key not in gone} | now
    releases = stored.releases | {guest.kernel: guest.release for guest in results.guests}
    data = {
        "releases": dict(sorted(releases.items())),
        "costs": [asdict(merged[key]) for key in sorted(merged)],
    }
    path.write_text(json.dumps(data, indent=1) + "\n")
