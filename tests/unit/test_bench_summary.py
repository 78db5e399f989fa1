"""Medians, ratios within a run, growth, and what the targets make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ksmlab.bench import targets
from ksmlab.bench.metrics import METRICS
from ksmlab.bench.result import Sample
from ksmlab.bench.summary import Spread, Summary
from ksmlab.bench.targets import Target, judge
from ksmlab.bench.workloads import WORKLOADS

if TYPE_CHECKING:
    from pathlib import Path


def sample(
    workload: str, engine: str, run: int = 0, factor: int = 1, possible: int = 10, **figures: float
) -> Sample:
    return Sample("k", run, workload, engine, factor, 100, 100, possible, figures)


def runs(workload: str, engine: str, metric: str, values: list[float]) -> list[Sample]:
    return [
        Sample("k", run, workload, engine, 1, 100, 100, 10, {metric: value})
        for run, value in enumerate(values)
    ]


def test_a_spread_is_the_median_and_both_ends() -> None:
    assert Spread.of([5, 1, 9]) == Spread(5, 1, 9, 3)
    assert Spread.of([]) is None


def test_ratios_are_formed_within_a_run() -> None:
    # The second run was on a busy machine: both are slower, the ratio is the same.
    summary = Summary(
        runs("all_equal", "in_kernel", "cpu_to_goal_ns", [40, 400, 80])
        + runs("all_equal", "hash", "cpu_to_goal_ns", [10, 100, 10])
    )
    ratio = summary.ratio("k", "all_equal", "cpu_to_goal_ns", over="in_kernel", under="hash")
    assert ratio == Spread(4, 4, 8, 3)


def test_a_run_that_one_engine_lacks_has_no_ratio() -> None:
    summary = Summary(
        [
            *runs("all_equal", "in_kernel", "cpu_to_goal_ns", [40, 50]),
            sample("all_equal", "hash", 1, cpu_to_goal_ns=10),
        ]
    )
    ratio = summary.ratio("k", "all_equal", "cpu_to_goal_ns", over="in_kernel", under="hash")
    assert ratio == Spread(5, 5, 5, 1)
    assert summary.ratio("k", "sparse", "cpu_to_goal_ns", over="in_kernel", under="hash") is None


def test_growth_is_the_cost_of_a_page_within_a_run() -> None:
    # The second run was on a busy machine, and a third has small memory only.
    small = runs("all_equal", "hash", "steady_pass_ns", [100, 1000, 100])
    large = [
        sample("all_equal", "hash", run, factor=16, steady_pass_ns=value)
        for run, value in enumerate([2000, 16000])
    ]
    summary = Summary([*small, *large])
    growth = summary.growth("k", "all_equal", "hash", "steady_pass_ns", 16)
    assert growth == Spread(1.125, 1, 1.25, 2)
    assert summary.growth("k", "all_equal", "hash", "steady_pass_ns", 4) is None


def only(found: tuple[targets.Verdict, ...]) -> targets.Verdict:
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("number", "met"), [(4.0, True), (4.1, False)])
def test_a_target_against_the_kernels_own_ksm(number: float, met: bool) -> None:
    summary = Summary(
        runs("all_equal", "in_kernel", "cpu_to_goal_ns", [40])
        + runs("all_equal", "tree", "cpu_to_goal_ns", [99])
        + runs("all_equal", "hash", "cpu_to_goal_ns", [10])
    )
    target = Target("all_equal", "cpu_to_goal_ns", "in_kernel", number, at_least=True, reason="why")
    verdict = only(judge(summary, (target,)))
    assert (verdict.ours, verdict.in_kernel, verdict.ratio) == (10, 40, 4)
    assert verdict.engine == "hash"
    assert verdict.met is met
    assert verdict.reason == ("" if met else "why")
    assert verdict.wanted == f"≥ {number:g}x"


def test_without_a_hash_index_the_tree_is_judged() -> None:
    summary = Summary(runs("all_equal", "tree", "metadata_per_page", [33]))
    target = Target("*", "metadata_per_page", "itself", 32, at_least=False)
    verdict = only(judge(summary, (target,)))
    assert (verdict.engine, verdict.met, verdict.found) == ("tree", False, "33.0 B")
    assert judge(Summary(runs("all_equal", "in_kernel", "cpu_to_goal_ns", [1])), (target,)) == ()


def test_the_limit_is_a_plain_loop_of_hashing() -> None:
    summary = Summary(
        runs("sparse", "xxh64", "steady_pass_ns", [10])
        + runs("sparse", "hash", "steady_pass_ns", [9])
    )
    target = Target("*", "steady_pass_ns", "xxh64", 1, at_least=False)
    verdict = only(judge(summary, (target,)))
    assert (verdict.ratio, verdict.met, verdict.in_kernel) == (0.9, True, None)


def test_a_ratio_to_itself_has_no_bytes() -> None:
    summary = Summary(runs("near_duplicates", "hash", "aging", [6.04]))
    target = Target("near_duplicates", "aging", "itself", 1.2, at_least=False)
    verdict = only(judge(summary, (target,)))
    assert (verdict.wanted, verdict.found, verdict.met) == ("≤ 1.2x", "6.04x", False)


def test_every_workload_but_those_with_a_target_of_their_own() -> None:
    summary = Summary(
        [
            sample(workload, engine, cpu_to_goal_ns=1)
            for workload in ("all_equal", "churn")
            for engine in ("in_kernel", "hash")
        ]
    )
    wanted = (
        Target("all_equal", "cpu_to_goal_ns", "in_kernel", 4, at_least=True),
        Target("*", "cpu_to_goal_ns", "in_kernel", 1, at_least=True),
    )
    found = [(one.workload, one.target, one.met) for one in judge(summary, wanted)]
    assert found == [("all_equal", 4, False), ("churn", 1, True)]


def test_a_goal_that_only_one_of_two_reaches() -> None:
    target = Target("*", "cpu_to_goal_ns", "in_kernel", 1, at_least=True)
    late = Summary([sample("churn", "in_kernel", cpu_to_goal_ns=1), sample("churn", "hash")])
    verdict = only(judge(late, (target,)))
    assert (verdict.met, verdict.ratio, verdict.reason) == (False, None, targets.NOT_REACHED)
    alone = Summary([sample("churn", "in_kernel"), sample("churn", "hash", cpu_to_goal_ns=1)])
    verdict = only(judge(alone, (target,)))
    assert (verdict.met, verdict.reason) == (True, targets.NEVER_IN_KERNEL)


def test_a_goal_that_neither_reaches_is_a_target_that_is_not_met() -> None:
    target = Target("*", "wall_to_goal_ns", "in_kernel", 3, at_least=True)
    samples = [sample("churn", "in_kernel"), sample("churn", "hash")]
    verdict = only(judge(Summary(samples), (target,)))
    assert (verdict.met, verdict.ratio, verdict.reason) == (False, None, targets.NEVER_BOTH)
    # No goal to reach, or no other engine to compare with: no verdict.
    nothing = [sample("churn", "in_kernel", possible=0), sample("churn", "hash", possible=0)]
    assert judge(Summary(nothing), (target,)) == ()
    assert judge(Summary(runs("churn", "hash", "wall_to_goal_ns", [1])), (target,)) == ()


def test_a_goal_that_is_not_reached_with_more_memory() -> None:
    target = Target("*", "cpu_to_goal_ns", "growth", 1.15, at_least=False)
    small = sample("churn", "hash", cpu_to_goal_ns=1)
    assert judge(Summary([small]), (target,)) == ()
    verdict = only(judge(Summary([small, sample("churn", "hash", factor=16)]), (target,)))
    assert (verdict.met, verdict.ratio, verdict.reason) == (False, None, targets.NOT_REACHED)


@pytest.mark.parametrize(("saved", "met"), [(1000, True), (991, True), (989, False)])
def test_as_many_frames_are_to_be_saved(saved: float, met: bool) -> None:
    summary = Summary(
        runs("churn", "in_kernel", "frames_saved", [1000])
        + runs("churn", "hash", "frames_saved", [saved])
    )
    wanted = [one for one in targets.load() if one.metric == "frames_saved"]
    verdict = only(judge(summary, tuple(wanted)))
    assert (verdict.ratio, verdict.met) == (saved / 1000, met)


@pytest.mark.parametrize("rival", ["in_kernel_plain", "in_kernel"])
def test_a_look_at_everything_beside_one_of_the_kernels(rival: str) -> None:
    """Without smart scan, where there is such a thing; its steady passes are no such look."""
    samples = runs("sparse", rival, "full_pass_ns", [50]) + runs(
        "sparse", "hash", "full_pass_ns", [10]
    )
    if rival == "in_kernel_plain":
        samples += runs("sparse", "in_kernel", "steady_pass_ns", [5])
    target = Target("*", "full_pass_ns", "in_kernel_plain", 1, at_least=True)
    verdict = only(judge(Summary(samples), (target,)))
    assert (verdict.ratio, verdict.in_kernel, verdict.met) == (5, 50, True)


def test_the_table_is_the_one_that_is_wanted() -> None:
    found = {
        (one.workload, one.metric, one.versus): (one.number, one.at_least) for one in targets.load()
    }
    wanted = {
        ("all_equal", "cpu_to_goal_ns", "in_kernel"): (4, True),
        ("each_twice", "cpu_to_goal_ns", "in_kernel"): (4, True),
        ("unique_random", "steady_pass_ns", "in_kernel"): (10, True),
        ("common_prefix", "steady_pass_ns", "in_kernel"): (25, True),
        ("sparse", "steady_pass_ns", "in_kernel"): (20, True),
        ("*", "wall_to_goal_ns", "in_kernel"): (3, True),
        ("*", "metadata_per_page", "itself"): (32, False),
        ("*", "steady_pass_ns", "xxh64"): (1, False),
        ("*", "steady_pass_ns", "growth"): (1.15, False),
        ("real_python", "steady_pass_ns", "in_kernel"): (10, True),
        ("near_duplicates", "aging", "itself"): (1.2, False),
        ("near_duplicates", "waking", "itself"): (1.2, False),
    }
    assert wanted.items() <= found.items()
    for workload in ("all_equal", "each_twice", "real_python", "real_files"):
        assert found[workload, "unmerge_page_ns", "in_kernel"] == (1, True)
        assert found[workload, "remove_page_ns", "in_kernel"] == (1, True)
        assert found[workload, "write_fault_ns", "in_kernel"] == (0.98, True)
    assert {workload for workload, _, _ in found} <= {*WORKLOADS, "*"}


@pytest.mark.parametrize(
    "line",
    ['metric = "speed"', 'versus = "luck"', "at_most = 1", 'why = "typo"'],
)
def test_a_table_with_a_mistake(line: str, tmp_path: Path) -> None:
    entry = {
        "workload": 'workload = "*"',
        "metric": 'metric = "steady_pass_ns"',
        "versus": 'versus = "in_kernel"',
        "at_least": "at_least = 1",
    }
    entry[line.split(maxsplit=1)[0]] = line
    path = tmp_path / "targets.toml"
    path.write_text("\n".join(["[[target]]", *entry.values()]))
    with pytest.raises(ValueError, match=r"target must have either|unknown metric"):
        targets.load(path)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("steady_pass_ns", 999, "999 ns"),
        ("steady_pass_ns", 1_234, "1.23 µs"),
        ("steady_pass_ns", 12_345_678, "12.3 ms"),
        ("steady_pass_ns", 123_456_789, "123 ms"),
        ("steady_pass_ns", None, "-"),
        ("metadata_per_page", 32, "32.0 B"),
        ("frames_saved", 12_345, "12,345"),
        ("cpu_s_per_gib", 1.5, "1.50 s"),
        ("unmerge_page_ns", 3906.25, "1,000.0 MiB/s"),
        ("aging", 1.234, "1.23x"),
    ],
)
def test_how_a_figure_reads(name: str, value: float | None, text: str) -> None:
    assert METRICS[name].show(value) == text
