"""What keeps a run of the demonstration: lines, counters and events, without a driver."""

from __future__ import annotations

import contextlib
import io
import time
from typing import TYPE_CHECKING

import pytest

from ksmlab.demo import trace
from ksmlab.demo.plan import Plan
from ksmlab.demo.record import RunRecord
from ksmlab.demo.recorder import Recorder
from ksmlab.demo.sampler import Sampler
from ksmlab.demo.view import PlainView
from ksmlab.sysfs import Counters, KsmSysfs

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE = 30.0


def play(view: PlainView | Recorder) -> None:
    """Show one thing of each kind."""
    view.title("a title")
    view.step("a step")
    view.note("a note")
    view.counters(Counters(1, 100, 0, 0, 256, 5, 2, 0, 7, 8), 10, 0.0)
    view.counters_done()
    view.check("frames", "7")
    view.verdict("All 1 checks hold")


def test_the_terminal_shows_what_it_shows_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)
    plain, recorded = io.StringIO(), io.StringIO()
    play(PlainView(plain))
    with Recorder(PlainView(recorded), Plan(), tmp_path / "run.json") as recorder:
        play(recorder)
    assert recorded.getvalue() == plain.getvalue()
    record = RunRecord.read(tmp_path / "run.json")
    assert record.title == "a title"
    assert record.verdict.startswith("All 1 checks hold (")
    assert [(line.kind, line.text) for line in record.lines] == [
        ("step", "a step"),
        ("note", "a note"),
        ("check", "frames: 7"),
    ]
    assert record.picture is None


def test_a_run_that_fails_leaves_a_record(tmp_path: Path) -> None:
    recorder = Recorder(PlainView(io.StringIO()), Plan(), tmp_path / "run.json")
    with contextlib.suppress(KeyError), recorder:
        recorder.failure("bad luck")
        raise KeyError
    record = RunRecord.read(tmp_path / "run.json")
    assert record.verdict == "bad luck"
    assert record.lines[-1].kind == "failure"


@pytest.fixture
def ksm(tmp_path: Path) -> KsmSysfs:
    for name in ("pages_shared", "kernel_pages_allocated", "full_scans", "pages_volatile"):
        (tmp_path / name).write_text("7\n")
    return KsmSysfs(tmp_path)


def test_counters_are_read_until_it_is_enough(
    ksm: KsmSysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksmlab.demo.sampler.SAMPLE_EVERY", 0.001)
    sampler = Sampler(ksm, trace.now())
    end = time.monotonic() + DEADLINE
    while len(sampler.samples) < 3:
        assert time.monotonic() < end
    found = sampler.stop()
    assert found[-1].full_scans == found[0].pages_shared == 7
    seconds = [sample.seconds for sample in found]
    assert seconds == sorted(seconds)
    assert sampler.stop() == found


def test_a_driver_that_goes_ends_the_samples(ksm: KsmSysfs) -> None:
    (ksm.directory / "full_scans").unlink()
    sampler = Sampler(ksm, trace.now())
    assert sampler.stop() == ()


def test_an_instance_is_set_up_for_some_pages(tmp_path: Path) -> None:
    events = tmp_path / "events/devksm"
    for name in ("merge", "break"):
        (events / f"devksm_{name}").mkdir(parents=True)
    (tmp_path / "trace").write_text("what was there before")
    made = trace.Instance(tmp_path)
    made.start([0x5000])
    assert (tmp_path / "trace_clock").read_text() == "mono"
    assert (tmp_path / "trace").read_text() == ""
    assert (events / "enable").read_text() == "1"
    for name in ("merge", "break"):
        text = (events / f"devksm_{name}/filter").read_text()
        assert text == "(addr >= 0x5000 && addr <= 0x5000)"
    (tmp_path / "trace").write_text("  kksmd-1 [001] ..... 31.5: devksm_pass_start: pass=1\n")
    assert made.stop() == [trace.RawEvent(31.5, "pass_start", "pass=1")]
    assert (events / "enable").read_text() == "0"
