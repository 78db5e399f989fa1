"""The check against the baseline: increased, missing and new figures, and figures of another kernel build."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from ksmlab.bench import baseline, check
from ksmlab.bench.baseline import Change, Cost
from ksmlab.bench.plan import HASH, TREE
from ksmlab.bench.result import Guest, Results, Sample
from ksmlab.bench.runner import Wanted
from ksmlab.bench.workloads import WORKLOADS
from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from pathlib import Path

COST = Cost("k", "sparse", "hash", "steady_pass_ns", 1000)
WANTED = Wanted(("k",), (TREE, HASH), ("all_equal", "sparse"), 512, 1)
FIGURES = {"cpu_to_goal_ns": 300.0, "steady_pass_ns": 200.0, "frames_saved": 9.0}


def sample(workload: str, engine: str, **figures: float) -> Sample:
    return Sample("k", 0, workload, engine, 1, 10, 10, 9, figures or FIGURES)


def results(*samples: Sample, release: str = "6.12.1") -> Results:
    guest = Guest("k", release, 1, 1 << 30, "", (TREE, HASH))
    return Results("c", "c", "m", "w", (guest,), samples)


GOOD = results(sample("all_equal", TREE), sample("all_equal", HASH), sample("sparse", HASH))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Store GOOD."""
    path = tmp_path / "baseline.json"
    baseline.update(GOOD, WANTED, path)
    return path


def checked(now: Results, stored: Path, *, update: bool = False, wanted: Wanted = WANTED) -> str:
    text = io.StringIO()
    check.check(now, wanted, Console(file=text, width=150), update=update, stored=stored)
    return text.getvalue()


@pytest.mark.parametrize(
    ("before", "regressed"), [(1000, False), (953, False), (951, True), (None, False)]
)
def test_increase_of_over_5_percent_is_a_regression(before: int | None, regressed: bool) -> None:
    assert Change(COST, before).regressed is regressed


def test_costs_are_the_figures_that_instructions_make_up() -> None:
    large = replace(sample("sparse", HASH), factor=16)
    assert baseline.costs([sample("sparse", HASH), large]) == (
        replace(COST, metric="cpu_to_goal_ns", ns=300),
        replace(COST, metric="steady_pass_ns", ns=200),
    )


def test_the_same_figures_are_good(stored: Path) -> None:
    text = checked(GOOD, stored)
    assert text.count("+0.0%") == 6
    assert "another build" not in text
    assert "--update" not in text


def test_check_fails_and_names_the_figure_that_has_increased(stored: Path) -> None:
    now = results(*GOOD.samples[:2], sample("sparse", HASH, cpu_to_goal_ns=300, steady_pass_ns=220))
    with pytest.raises(VmError, match=r"more than 5%: sparse \(hash, steady_pass_ns\)\."):
        checked(now, stored)


def test_a_goal_that_is_not_reached_any_more(stored: Path) -> None:
    now = results(*GOOD.samples[:2], sample("sparse", HASH, steady_pass_ns=100))
    with pytest.raises(VmError, match=r"goals were not reached: sparse \(hash, cpu_to_goal_ns\)\."):
        checked(now, stored)


def test_what_was_not_to_be_measured_is_not_missing(stored: Path) -> None:
    now = results(GOOD.samples[0])
    with pytest.raises(VmError, match="goals were not reached"):
        checked(now, stored)
    checked(now, stored, wanted=replace(WANTED, engines=(TREE,), workloads=("all_equal",)))


def test_a_figure_that_is_not_in_the_baseline(stored: Path) -> None:
    text = checked(results(*GOOD.samples, sample("sparse", TREE, steady_pass_ns=5)), stored)
    assert "Not in the baseline: sparse (tree, steady_pass_ns). To add the figures:  make" in text


def test_nothing_to_compare_with_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(VmError, match="The baseline has none of the measured figures"):
        checked(GOOD, tmp_path / "none.json")


@pytest.mark.parametrize("aging", [1.1, 2.1])
def test_check_fails_if_a_target_without_a_rival_is_missed(aging: float, stored: Path) -> None:
    now = results(*GOOD.samples, sample("near_duplicates", HASH, aging=aging))
    if aging <= 1.2:
        checked(now, stored)
        return
    with pytest.raises(
        VmError, match=r"These targets are missed: near_duplicates .*: 2\.10x, target ≤ 1\.2x"
    ):
        checked(now, stored)


def test_another_build_of_the_kernel_is_compared_and_named(stored: Path) -> None:
    text = checked(replace(GOOD, guests=results(release="6.12.2").guests), stored)
    assert "another release of k: 6.12.1; this run used 6.12.2" in text
    assert text.count("+0.0%") == 6
    dear = results(*GOOD.samples[:2], sample("sparse", HASH, steady_pass_ns=300), release="6.12.2")
    with pytest.raises(VmError, match=r"more than 5%.*6\.12\.1; this run used 6\.12\.2") as caught:
        checked(dear, stored)
    assert "The new kernel may be the reason" in caught.value.hint


def test_an_update_keeps_what_was_not_to_be_measured(stored: Path) -> None:
    wanted = replace(WANTED, engines=(HASH,), workloads=("sparse",))
    now = results(sample("sparse", HASH, steady_pass_ns=7), release="6.12.2")
    checked(now, stored, update=True, wanted=wanted)
    found = baseline.read(stored)
    assert found.releases == {"k": "6.12.2"}
    of_sparse = [one for one in found.costs.values() if one.workload == "sparse"]
    # The goal was not reached: what it cost to reach it is gone.
    assert of_sparse == [replace(COST, ns=7)]
    assert len(found.costs) == 5


def test_the_stored_baseline_is_in_order() -> None:
    data = json.loads(baseline.STORED.read_text())
    entries = data["costs"]
    assert entries
    assert len(baseline.read().costs) == len(entries)
    assert set(data["releases"]) == {entry["kernel"] for entry in entries}
    for entry in entries:
        assert entry["workload"] in WORKLOADS
        assert entry["ns"] > 0
