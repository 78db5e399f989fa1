"""The longest sections: a trace's header, the tracer's files, and whose the longest are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from ksmlab.bench import host, latency_host
from ksmlab.bench.batches import Batches, summarize
from ksmlab.bench.latency import Longest, longest
from ksmlab.bench.latency_host import Latencies
from ksmlab.bench.tracer import Section, Tracer, TracerError, parse
from ksmlab.bench.workloads import WORKLOADS
from ksmlab.kprobes import Call

TRACE = (Path(__file__).with_name("data") / "preemptoff-trace.txt").read_text()
ONE = Section(56196, "python3", "p9_virtio_zc_request", "p9_virtio_zc_request")
TWO = Section(70, "python", "do_wp_page", "finish_fault")


def test_the_header_of_a_trace() -> None:
    assert parse(TRACE) == ONE
    assert str(TWO) == "python in do_wp_page to finish_fault"
    assert str(ONE) == "python3 in p9_virtio_zc_request"


def test_a_name_with_a_dash_is_of_one_task() -> None:
    found = parse(TRACE.replace("task: python3-", "task: kworker/0:1-events-"))
    assert found is not None
    assert found.task == "kworker/0:1-events"


def test_a_trace_of_nothing_yet() -> None:
    head = [line for line in TRACE.splitlines() if "=> " not in line]
    assert parse("\n".join(head)) is None
    assert parse("# tracer: preemptoff\n#\n") is None


def test_tracer_resets_after_each_take(tmp_path: Path) -> None:
    (tmp_path / "available_tracers").write_text("preemptoff irqsoff nop\n")
    (tmp_path / "options").mkdir()
    (tmp_path / "options/function-trace").write_text("1")
    longest_file = tmp_path / "tracing_max_latency"
    with Tracer("preemptoff", tmp_path) as tracer:
        assert (tmp_path / "current_tracer").read_text() == "preemptoff"
        assert (tmp_path / "options/function-trace").read_text() == "0"
        (tmp_path / "trace").write_text(TRACE)
        longest_file.write_text("56196")
        assert tracer.take() == ONE
        assert longest_file.read_text() == "0"
    assert (tmp_path / "current_tracer").read_text() == "nop"


def test_a_kernel_without_the_tracer(tmp_path: Path) -> None:
    (tmp_path / "available_tracers").write_text("function nop\n")
    with pytest.raises(
        TracerError, match=r"does not have the tracer preemptoff.*use the kernel latency-6\.12"
    ):
        Tracer("preemptoff", tmp_path)


def test_the_longest_of_the_windows() -> None:
    assert longest([TWO, ONE, TWO]) == ONE
    assert longest([]) is None


def test_every_workload_that_is_traced_exists() -> None:
    assert set(latency_host.WORKLOADS) <= set(WORKLOADS)


def test_what_was_traced_is_shown_and_written(tmp_path: Path) -> None:
    both = Longest("hash", "sparse", "preemptoff", 9, ONE, TWO)
    none = Longest("in_kernel", "sparse", "irqsoff", 9, None, TWO)
    assert Longest.from_data(json.loads(json.dumps(asdict(none)))) == none
    found = Latencies("6.12-latency", (both, none), (Batches("sparse", 4, 32, 57, 31),))
    first, second = latency_host.table(found).rows
    assert first[2:] == ("preemptoff", "56196 µs", str(ONE), "70 µs", str(TWO))
    assert second[3:5] == ("-", "-")
    assert latency_host.batch_table(found).rows == (("sparse", "4", "32", "57 µs", "31 pages"),)
    path = latency_host.write([found], host.describe(tmp_path, "ksmlab bench --latency"), tmp_path)
    data = json.loads(path.read_text())
    assert data["command"] == "ksmlab bench --latency"
    assert data["kernels"][0]["longest"][0]["scanner"]["us"] == ONE.us
    assert data["kernels"][0]["batches"][0]["empty_us"] == 57


def test_the_largest_of_each_measure_is_reported() -> None:
    calls = [
        Call(1.000000, "done", {}),
        Call(2.000000, "clear", {"nr": 3}),
        Call(2.000001, "flush", {"start": 0x1000, "end": 0x5000}),
        Call(2.000040, "done", {}),
        Call(3.000000, "clear", {"nr": 8}),
        Call(3.000001, "flush", {"start": 0x1000, "end": 0x4000}),
        Call(3.000015, "done", {}),
        Call(9.000000, "done", {}),
    ]
    assert summarize("all_equal", calls) == Batches("all_equal", 2, 8, 40, 4)
    assert summarize("sparse", []) == Batches("sparse", 0, 0, 0, 0)
