"""What a run of the demonstration leaves: its record, the sorting of its events, and its page."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from elements import Elements

from ksmlab.demo import curves, page, sample, trace
from ksmlab.demo.plan import Plan
from ksmlab.demo.record import Line, RunRecord, Sample
from ksmlab.demo.sorter import Sorter
from ksmlab.pictures import layout
from ksmlab.pictures.look import Place
from ksmlab.pictures.model import Moment, Square, Strip
from ksmlab.stored import FormatError

DATA = Path(__file__).with_name("data") / "demo-run.json"


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return RunRecord.read(DATA)


TRACE = """\
# tracer: nop
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
  kksmd-1 [001] ..... 31.446235: devksm_merge: unstable mm=0000000025775e35 addr=0x5000 pfn=0xd91e kernel_pfn=0x70f50
  kksmd-1 [001] ..... 31.446321: devksm_merge: stable mm=00000000deadbeef addr=0x5000 pfn=0xd8de kernel_pfn=0x70f50
  kksmd-1 [001] ..... 31.500000: devksm_pass_end: pass=1 pages_shared=3 kernel_pages=2
 a name with space-7 [000] ..... 31.6: sched_wakeup: comm=x
  kksmd-1 [001] ..... 32.000000: devksm_skip: busy mm=0000000025775e35 addr=0x4000 pages=4
  python-9 [000] d..1.    33.000001: devksm_node_dropped: kernel_pfn=0x70f50 mappings=0
  python-9 [000] d..1.    33.000002: devksm_node_dropped: kernel_pfn=0x70f51 mappings=0
"""


def test_a_trace_is_read() -> None:
    events = trace.parse(TRACE.splitlines())
    assert [event.name for event in events] == [
        "merge", "merge", "pass_end", "skip", "node_dropped", "node_dropped",
    ]  # fmt: skip
    first = events[0]
    assert first.at == pytest.approx(31.446235)
    assert first.word("mm") == "0000000025775e35"
    assert (first.number("pfn"), first.number("kernel_pfn")) == (0xD91E, 0x70F50)
    assert first.number("nothing") == 0
    assert first.word("nothing") == ""


def test_a_filter_has_a_range_for_each_run_of_pages() -> None:
    assert trace.page_filter([0x5000, 0x9000, 0x6000, 0x5000]) == (
        "(addr >= 0x5000 && addr <= 0x6000) || (addr >= 0x9000 && addr <= 0x9000)"
    )


def test_the_filter_of_the_demonstration_fits(record: RunRecord) -> None:
    """The kernel takes less than a page of it."""
    assert record.picture is not None
    pages = sample.pictured(Plan())
    bases = [0x7F0000000000 + worker * (64 << 20) for worker in range(3)]
    assert len(trace.page_filter(base + page * 4096 for base in bases for page in pages)) < 4096


def square(page_number: int, pfn: int, *, kernel: bool = False) -> Square:
    return Square(page_number, pfn, 1, kernel)


def test_events_are_sorted_by_the_frames_they_name() -> None:
    places = [Place(f"process {pid}", pid, 0x4000, (1, 3)) for pid in (7, 8)]
    before = Moment(
        "before",
        (
            Strip("process 7", (square(1, 0xD8DE), square(3, 0x11))),
            Strip("process 8", (square(1, 0xD91E), square(3, 0x12))),
        ),
    )
    after = Moment("after", (Strip("process 7", (square(1, 0x70F50, kernel=True),)),))
    raw = trace.parse(TRACE.splitlines())
    events = Sorter(places, (before, after)).sort(raw, start=30.0)
    assert [(event.name, event.who, event.page) for event in events] == [
        ("merge", "process 8", 1),
        ("merge", "process 7", 1),
        ("pass_end", "", -1),
        ("skip", "process 8", 1),
        ("node_dropped", "", -1),
    ]
    assert events[0].seconds == pytest.approx(1.4462)


def test_pages_of_all_kinds_are_shown() -> None:
    plan = Plan()
    pages = sample.pictured(plan)
    assert len(pages) == len(set(pages)) == 48
    parts = (plan.across_part, plan.inside_part, plan.alone_part, plan.changing_part)
    assert all(
        any(part.first <= number < part.first + part.count for number in pages) for part in parts
    )
    written = sample.written(plan)
    for part in plan.written_parts:
        assert any(part.first <= number < part.first + part.count for _, number in written)
    labelled = sample.labels(plan, 1)
    assert any(number in labelled and (0, number) not in written for number in pages)
    keys = [plan.keys(worker) for worker in range(3)]
    by_label: dict[str, set[int]] = {}
    for worker in range(3):
        for number, label in sample.labels(plan, worker).items():
            by_label.setdefault(label, set()).add(keys[worker][number])
    assert all(len(contents) == 1 for contents in by_label.values())


def test_a_record_is_stored_and_read_again(record: RunRecord, tmp_path: Path) -> None:
    record.write(tmp_path / "run.json")
    assert RunRecord.read(tmp_path / "run.json") == record
    (tmp_path / "run.json").write_text(json.dumps(record.to_data() | {"format": 0}))
    with pytest.raises(FormatError, match="format 0"):
        RunRecord.read(tmp_path / "run.json")


def test_the_run_of_the_data(record: RunRecord) -> None:
    assert record.verdict.startswith("All 24 checks hold")
    assert record.picture is not None
    before, after, written = record.picture.moments
    assert before.frames == 144
    assert after.frames < written.frames < before.frames
    names = Counter(event.name for event in record.events)
    assert names["merge"] >= 3 * 32
    assert {"break", "node_dropped", "pass_start", "pass_end"} <= set(names)
    assert all(event.page >= 0 for event in record.events if event.who)


def test_the_page_is_whole(record: RunRecord) -> None:
    found = Elements(page.html(record))
    assert found.open == []
    assert record.command in found.words
    assert record.kernel in found.words
    cells = [one for _, one in found.tags if "cell" in (one.get("class") or "").split()]
    assert len(cells) == 3 * 144
    rows = [one for tag, one in found.tags if tag == "tr" and "data-name" in one]
    assert len(rows) == len(record.events)


def test_page_says_that_colours_repeat(record: RunRecord) -> None:
    assert record.picture
    frames = len(record.picture.colours())
    assert frames > layout.COLOURS
    text = page.html(record)
    assert text.count(f"{layout.COLOURS} colours, which repeat, for {frames} frames") == 2
    assert "one colour for each frame" not in text


def test_the_page_needs_nothing_from_elsewhere(record: RunRecord) -> None:
    for _, attributes in Elements(page.html(record)).tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#")[0] == "#" or attributes[name] == "data:,"


def test_what_comes_from_the_run_is_text(record: RunRecord) -> None:
    html = page.html(replace(record, command="<script>", verdict="<b>"))
    assert "<dd>&lt;script&gt;</dd>" in html
    assert "&lt;b&gt;" in html


def test_a_run_that_ended_early_has_a_page() -> None:
    failed = RunRecord(
        "c", "k", "w", "t", "frames: expected 1, found 2", (Line(1.0, "failure", "x"),)
    )
    html = page.html(failed)
    assert "frames: expected 1, found 2" in html
    assert Elements(html).open == []
    assert "ended early" in page.html(replace(failed, verdict=""))


def test_a_vm_that_leaves_no_record_leaves_no_page(tmp_path: Path) -> None:
    assert page.finish(tmp_path / "run.json", "c", "k") is None


def test_a_page_stands_beside_its_record(record: RunRecord, tmp_path: Path) -> None:
    record.write(tmp_path / "run.json")
    made = page.finish(tmp_path / "run.json", "ksmlab demo", "debian-6.1")
    assert made == tmp_path / "index.html"
    assert RunRecord.read(tmp_path / "run.json").kernel == f"debian-6.1 (Linux {record.kernel})"


def test_counters_are_drawn_within_their_plots() -> None:
    samples = [Sample(1.0, 0, 0, 0, 0), Sample(2.0, 500, 20, 3, 0), Sample(9.0, 0, 0, 7, 0)]
    lines = [Line(at, "step", "x") for at in (0.5, 5.0, 5.01)]
    plots = curves.plots(samples, lines)
    assert [plot.title.split(":")[0] for plot in plots] == [
        "pages_shared", "kernel_pages_allocated", "full_scans",
    ]  # fmt: skip
    for plot in plots:
        (curve,) = [shape for shape in plot.shapes if shape.kind == "polyline"]
        assert len(curve.points) == 3
        assert all(0 <= x <= plot.width and 0 <= y <= plot.height for x, y in curve.points)
        assert [shape.text for shape in plot.shapes if shape.css == "tick middle"] == ["1", "2, 3"]
    assert curves.plots([], lines) == []
