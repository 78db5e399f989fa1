"""Run a very small benchmark in a VM: two workloads, once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from harness import CHECKOUT, KERNEL

from ksmlab.bench import baseline, host
from ksmlab.bench.plan import ENGINES, HASH, IN_KERNEL, LIMIT, TREE
from ksmlab.bench.report import Report
from ksmlab.bench.runner import Wanted, measure_in
from ksmlab.bench.summary import Summary
from ksmlab.lab import Lab
from ksmlab.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from ksmlab.bench.result import Results, Sample
    from ksmlab.vm.accel import Accel

NPAGES = 512
WANTED = Wanted(
    kernels=(KERNEL,),
    engines=ENGINES,
    workloads=("each_twice", "sparse"),
    npages=NPAGES,
    runs=1,
    factors=(2,),
    steady_ns=1_000_000,
)
COUNTED = replace(
    WANTED,
    engines=(HASH,),
    workloads=("each_twice", "unique_random", "common_prefix"),
    npages=2 * NPAGES,
    factors=(),
    runs=3,
    # A timer interrupt costs 5% of a steady pass, so measure many passes with many interrupts.
    steady_ns=30_000_000,
    limit=False,
    counted=True,
)


def measured(wanted: Wanted, how: Accel) -> Results:
    samples: list[Sample] = []

    def keep(sample: Sample, _guest: object) -> None:
        samples.append(sample)

    guest = measure_in(Lab(Progress(), CHECKOUT), KERNEL, wanted, how, keep)
    return host.add(host.describe(CHECKOUT, "pytest"), guest, samples)


@pytest.fixture(scope="module")
def results(how: Accel) -> Results:
    return measured(WANTED, how)


@pytest.fixture(scope="module")
def counted(how: Accel) -> tuple[Summary, Summary]:
    """The summaries of two identical runs, each in its own VM."""
    one, other = (Summary(measured(COUNTED, how).samples) for _ in range(2))
    return one, other


def of(results: Results, workload: str, engine: str, factor: int = 1) -> Sample:
    found = [
        one
        for one in results.samples
        if (one.workload, one.engine, one.factor) == (workload, engine, factor)
    ]
    assert len(found) == 1
    return found[0]


def test_each_engine_has_measured_everything(results: Results) -> None:
    engines = results.guests[0].engines
    assert {IN_KERNEL, TREE} <= set(engines)
    places = {(one.workload, one.engine, one.factor) for one in results.samples}
    assert places == {
        (workload, engine, factor)
        for workload in WANTED.workloads
        for engine in (LIMIT, *engines)
        for factor in (1, 2)
        if (engine, factor) != (LIMIT, 2)
    }


def test_what_can_be_merged_is_merged(results: Results) -> None:
    for engine in results.guests[0].engines:
        sample = of(results, "each_twice", engine)
        assert (sample.npages, sample.present, sample.possible) == (NPAGES, NPAGES, NPAGES // 2)
        assert sample.figures["frames_saved"] == NPAGES // 2
        assert 0 < sample.figures["cpu_to_goal_ns"] < 10e9
        assert sample.figures["wall_to_goal_ns"] > 0
        assert 0 < sample.figures["write_p50_ns"] <= sample.figures["write_p99_ns"]
        assert sample.curve[0][1] == 0
        assert sample.curve[-1][1] >= 0.99 * NPAGES // 2
        assert sample.note == ""


def test_where_nothing_is_equal_passes_are_measured_alone(results: Results) -> None:
    for engine in results.guests[0].engines:
        sample = of(results, "sparse", engine)
        assert (sample.npages, sample.present, sample.possible) == (16 * NPAGES, 16, 0)
        assert sample.figures["frames_saved"] == 0
        assert sample.figures["steady_pass_ns"] > 0
        assert sample.figures["steady_passes"] >= WANTED.passes
        assert "cpu_to_goal_ns" not in sample.figures


def test_full_pass_costs_more_than_a_pass_that_skips_idle_pages(results: Results) -> None:
    resting = of(results, "sparse", HASH).figures
    assert resting["full_pass_ns"] > 1.5 * resting["steady_pass_ns"]
    each = of(results, "sparse", TREE).figures
    assert each["full_pass_ns"] == each["steady_pass_ns"]


def test_how_an_engine_is_set_is_in_its_sample(results: Results) -> None:
    assert of(results, "sparse", HASH).settings.items() >= {
        ("index", "hash"),
        ("hash_seed", "0"),
        ("sleep", "0"),
    }
    assert of(results, "sparse", IN_KERNEL).settings["sleep_millisecs"] == "0"


def test_the_kernels_own_metadata_has_a_size(results: Results) -> None:
    # 64 bytes for each page, and 64 bytes for each stable node; two pages share a stable node.
    per_page = of(results, "each_twice", IN_KERNEL, 2).figures["metadata_per_page"]
    assert per_page == pytest.approx(96, rel=0.1)


def test_a_plain_loop_hashes_what_is_there(results: Results) -> None:
    many = of(results, "each_twice", LIMIT).figures["steady_pass_ns"]
    few = of(results, "sparse", LIMIT).figures["steady_pass_ns"]
    assert 0 < few < many < 1e9


def test_a_report_comes_of_it(results: Results, tmp_path: Path) -> None:
    page = Report(results).write(tmp_path)
    targets = json.loads((tmp_path / "results.json").read_text())["targets"]
    assert {target["workload"] for target in targets} == {"each_twice", "sparse"}
    for target in targets:
        assert target["ratio"] > 0
        assert isinstance(target["met"], bool)
    assert "each_twice" in page.read_text()


def test_counted_figures_are_the_same_twice(counted: tuple[Summary, Summary]) -> None:
    """Otherwise `ksmlab bench --check` would fail at random."""
    one, other = counted
    for place, spread in one.places():
        if place.metric in baseline.COMPARED:
            again = other.median(place.kernel, place.workload, place.engine, place.metric)
            assert again == pytest.approx(spread.median, rel=baseline.TOLERANCE), place


def test_where_instructions_are_counted_no_sample_has_the_last_line(
    counted: tuple[Summary, Summary],
) -> None:
    """Pages that differ only in the last line must be read completely, which takes several times as long."""
    whole, sample = (
        counted[0].median(KERNEL, workload, HASH, "full_pass_ns")
        for workload in ("common_prefix", "unique_random")
    )
    assert whole is not None
    assert sample is not None
    assert whole > 2 * sample
