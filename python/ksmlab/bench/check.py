"""Check instruction counts against the baseline, and report regressions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ksmlab.bench import baseline, holds_host
from ksmlab.bench.metrics import METRICS, nanoseconds
from ksmlab.bench.summary import Summary
from ksmlab.bench.targets import judge
from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from ksmlab.bench.baseline import Comparison, Cost
    from ksmlab.bench.holds import Longest
    from ksmlab.bench.result import Results
    from ksmlab.bench.runner import Wanted

UPDATE = "make bench-check BENCH=--update"


def _names(costs: Sequence[Cost]) -> str:
    return ", ".join(f"{one.workload} ({one.engine}, {one.metric})" for one in costs)


def check(
    results: Results,
    wanted: Wanted,
    console: Console,
    *,
    update: bool,
    holds: Sequence[Longest] = (),
    stored: Path = baseline.STORED,
) -> None:
    """Compare results with the baseline and with fixed bounds, or store them as the baseline.

    Args:
        results: The results.
        wanted: The kernels, engines and workloads that were to be measured.
        console: The console to show the comparison on.
        update: Whether to store the results as the baseline instead of checking them.
        holds: The longest holds of ksm_lock.
        stored: The file of the baseline.

    Raises:
        VmError: A figure exceeds its baseline by over 5% or is missing, the baseline has none of the figures, ksm_lock
            is held for too long, or hash collisions make later passes too expensive.
    """
    found = baseline.compare(results, wanted, stored)
    _show(found, console)
    if holds:
        console.print(holds_host.table(", ".join(wanted.kernels), holds).rich())
    if update:
        baseline.update(results, wanted, stored)
        console.print(f"the results are stored as the baseline: {stored.name}")
        return
    if found.new:
        text = f"Not in the baseline: {_names(found.new)}. To add the figures:  {UPDATE}"
        console.print(text, style="yellow", markup=False, soft_wrap=True)
    problems = []
    if found.missing:
        problems.append(
            f"These figures of the baseline are missing, because their goals were not reached: {_names(found.missing)}."
        )
    if found.regressions:
        problems.append(
            f"These figures exceed the baseline by more than {baseline.TOLERANCE:.0%}: {_names(found.regressions)}."
        )
    problems += _beyond_bounds(results, holds)
    if len(found.new) == len(found.changes) and not found.missing:
        problems.append("The baseline has none of the measured figures.")
    if problems:
        raise VmError(
            " ".join([*problems, *_releases(found)]),
            untouched="The baseline is unchanged.",
            hint=_next(found),
            log=json.dumps([one.key for one in (*found.missing, *found.regressions)]),
        )


def _beyond_bounds(results: Results, holds: Sequence[Longest]) -> list[str]:
    """Return one sentence for each kind of bound that is exceeded."""
    problems = []
    long = holds_host.too_long(holds)
    if long:
        bound = nanoseconds(holds_host.BOUND_NS)
        text = "; ".join(holds_host.describe(one) for one in long)
        problems.append(f"ksm_lock is held for longer than {bound}: {text}.")
    missed = [
        f"{one.workload} ({METRICS[one.metric].title}): {one.found}, target {one.wanted}"
        for one in judge(Summary(results.samples))
        if one.versus == "itself" and not one.met
    ]
    if missed:
        problems.append(f"These targets are missed: {'; '.join(missed)}.")
    return problems


def _show(found: Comparison, console: Console) -> None:
    for kernel in dict.fromkeys(change.cost.kernel for change in found.changes):
        console.print(
            f"{kernel}: nanoseconds of a clock that counts instructions; baseline, this run, difference"
        )
        for change in found.changes:
            if change.cost.kernel == kernel:
                style = "red" if change.regressed else ""
                console.print(str(change), style=style, markup=False, soft_wrap=True)
    for line in _releases(found):
        console.print(line, style="yellow", markup=False, soft_wrap=True)


def _releases(found: Comparison) -> list[str]:
    return [
        f"The baseline was measured with another release of {kernel}: {then}; this run used {now}."
        for kernel, (then, now) in found.other_releases.items()
    ]


def _next(found: Comparison) -> str:
    if found.other_releases:
        return (
            "The new kernel may be the reason. Run the check on a commit that is known to be good. If its costs have "
            f"grown as well, the baseline is outdated: run {UPDATE} on that commit, then check again."
        )
    return f"Find the cause. If the higher cost is justified, store it:  {UPDATE}"
