"""The report of stored results: JSON, Markdown, one page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from elements import Elements

from ksmlab.bench import cli, host
from ksmlab.bench.report import Report
from ksmlab.bench.result import Results
from ksmlab.bench.workloads import WORKLOADS
from ksmlab.vm.errors import VmError

DATA = Path(__file__).with_name("data") / "bench-results.json"


@pytest.fixture(scope="module")
def results() -> Results:
    return Results.read(DATA)


@pytest.fixture(scope="module")
def report(results: Results) -> Report:
    return Report(results)


@pytest.fixture(scope="module")
def page(report: Report) -> Elements:
    return Elements(report.html())


def test_the_json_has_the_targets(report: Report) -> None:
    data = report.to_data()
    assert data["targets"]
    for target in data["targets"]:
        assert {"workload", "metric", "ours", "in_kernel", "ratio", "target", "met"} <= set(target)
    measured = {sample.workload for sample in report.results.samples}
    assert {target["workload"] for target in data["targets"]} == measured


def test_what_is_written_can_be_read_again(report: Report, tmp_path: Path) -> None:
    assert report.write(tmp_path / "a/b") == tmp_path / "a/b/index.html"
    assert Results.read(tmp_path / "a/b/results.json") == report.results
    assert (tmp_path / "a/b/results.md").read_text() == report.markdown()


def test_a_target_that_is_not_met_stays_in_the_table(report: Report) -> None:
    missed = [verdict for verdict in report.verdicts if not verdict.met]
    assert missed
    rows = [line for line in report.markdown().splitlines() if line.endswith("| no |")]
    assert len(rows) == len(missed)


def test_every_workload_is_in_the_markdown(report: Report) -> None:
    for workload in {sample.workload for sample in report.results.samples}:
        assert f"| {workload} |" in report.markdown()


def test_markdown_tables_are_straight(report: Report) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", report.markdown(), re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_every_workload_is_on_the_page(page: Elements, report: Report) -> None:
    for workload in {sample.workload for sample in report.results.samples}:
        assert page.words.count(workload) > 1
    assert page.open == []


def test_the_page_says_how_it_was_measured(page: Elements, results: Results) -> None:
    for fact in (results.command, results.commit, results.machine, results.when):
        assert fact in page.words
    assert any(results.guests[0].release in word for word in page.words)


def test_the_page_needs_nothing_from_elsewhere(page: Elements, report: Report) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "img", "iframe"}
        assert not {"src", "href"} & set(attributes)
    assert "prefers-color-scheme: dark" in report.html()


def test_the_page_draws_numbers_only(page: Elements) -> None:
    drawn = [attributes for tag, attributes in page.tags if tag in {"rect", "line"}]
    assert len(drawn) > 100
    for attributes in drawn:
        values = [value for name, value in attributes.items() if name != "class"]
        assert all(float(str(value)) >= 0 for value in values)


def test_a_name_with_markup_is_text(results: Results) -> None:
    html = Report(replace(results, command="<script>")).html()
    assert "<dd>&lt;script&gt;</dd>" in html


def test_growth_is_drawn_and_tabled(results: Results) -> None:
    more = [
        replace(one, factor=16, figures={name: 20 * value for name, value in one.figures.items()})
        for one in results.samples
        if one.engine != "xxh64"
    ]
    report = Report(replace(results, samples=(*results.samples, *more)))
    assert "in units of 1x" in report.markdown()
    assert "16x" in Elements(report.html()).words
    grown = [one for one in report.verdicts if one.versus == "growth"]
    assert grown
    assert all(one.ratio == pytest.approx(1.25) and not one.met for one in grown)


def test_what_is_missing_is_said(report: Report) -> None:
    assert any("metadata_bytes" in note for note in report.notes)


def test_how_each_engine_was_set_is_said(results: Results) -> None:
    told = {"sleep": "0", "index": "tree"}
    samples = tuple(
        replace(one, settings=told) if one.engine == "tree" else one for one in results.samples
    )
    report = Report(replace(results, samples=samples))
    assert ("tree on debian-6.12", "sleep 0, index tree") in report.facts
    assert Results.from_data(report.to_data()) == report.results


def test_results_of_another_format(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('{"format": 0}')
    with pytest.raises(VmError, match="format 0"):
        cli.read_results(path)
    with pytest.raises(VmError, match="cannot be read"):
        cli.read_results(tmp_path / "none")


def test_a_workload_that_there_is_not() -> None:
    with pytest.raises(VmError, match="no workload called swap") as caught:
        cli.chosen(["sparse", "swap"], (), WORKLOADS, "workload")
    assert "all_equal" in caught.value.hint
    assert cli.chosen(None, ("sparse",), WORKLOADS, "workload") == ("sparse",)


def test_a_line_for_a_sample(results: Results) -> None:
    line = host.line(results.samples[1])
    assert "debian-6.12 1x run 1: all_equal" in line
    assert "CPU to 99% merged" in line


def test_a_machine_by_its_cpus(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: An example\nmodel name\t: An example\n")
    assert host.machine(info, 1.25) == "2 x An example, load 1.2 at the start"
