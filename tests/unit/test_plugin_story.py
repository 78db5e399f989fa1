"""How a test's story is told: on what real VMs sent (`pytest --vm-record`), without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ksmlab.pytest_plugin.kernel_log import MARK
from ksmlab.pytest_plugin.story import Ended, Gone, Late, Said, State, Story, from_json, to_json
from ksmlab.vm.errors import GuestEnded, GuestMemory, Hang, KernelPanic, LostVM

STORIES = Path(__file__).with_name("data") / "stories"
NODE = "tests/test_x.py::test_y[kernel]"
# Which losses the stored ones are, and what the person is shown.
STORED = {
    "test_sysrq": (KernelPanic, "call", "sysrq_handle_crash"),
    "test_oops_in_a_module": (KernelPanic, "call", "crash_oops+0x"),
    "test_loop_with_interrupts_off": (Hang, "call", "crash_loop+0x"),
    "test_waits_for_ever": (Hang, "call", "Kernel panic - not syncing: NMI"),
    "test_out_of_memory": (GuestMemory, "call", "Out of memory: Killed process"),
    "test_ends_its_pytest": (GuestEnded, "call", ""),
    "test_killed_from_outside": (LostVM, "call", "now kill me"),
}


def stored(name: str) -> tuple[Story, list[dict[str, object]], list[str]]:
    """Tell a stored story; give it, the reports that came out, and the log."""
    (path,) = STORIES.glob(f"*_{name}_debian_*.json")
    data = json.loads(path.read_text())
    story = Story(data["nodeid"])
    reports = [report for event in data["events"] if (report := story.take(from_json(event)))]
    return story, reports, data["log"]


@pytest.mark.parametrize("name", STORED)
def test_a_stored_loss_is_told_as_what_it_was(name: str) -> None:
    story, reports, log = stored(name)
    kind, phase, sign = STORED[name]
    assert story.state is State.LOST
    assert story.phase.value == phase
    assert [report["when"] for report in reports] == ["setup"]
    loss = story.loss(log)
    assert type(loss) is kind
    assert sign in loss.log
    assert story.nodeid in loss.what
    assert not any("crash_warn" in line for line in loss.log.splitlines())


@pytest.mark.parametrize(
    ("name", "outcomes"),
    [
        ("test_passes", ["passed", "passed", "passed"]),
        ("test_fails", ["passed", "failed", "passed"]),
        ("test_skipped", ["skipped", "passed"]),
        ("test_warning_of_the_kernel", ["passed", "failed", "passed"]),
    ],
)
def test_a_stored_ordinary_end(name: str, outcomes: list[str]) -> None:
    story, reports, _ = stored(name)
    assert story.state is State.DONE
    assert [report["outcome"] for report in reports] == outcomes


def said(when: str, outcome: str = "passed", nodeid: str = NODE) -> Said:
    report = {"nodeid": nodeid, "when": when, "outcome": outcome}
    return Said({"is": "report", "id": nodeid, "report": report})


DONE = Said({"is": "done", "id": NODE})
LATE = Late(5)


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        ([LATE], "setup"),
        ([said("setup"), LATE], "call"),
        ([said("setup", "failed"), LATE], "teardown"),
        ([said("setup", "skipped"), LATE], "teardown"),
        ([said("setup"), said("call"), LATE], "teardown"),
        ([said("setup"), said("call", "failed"), LATE], "teardown"),
        ([said("setup"), said("call"), said("teardown"), LATE], "teardown"),
    ],
)
def test_the_phase_in_which_it_was_lost(events: list[Said | Late], phase: str) -> None:
    story = Story(NODE)
    for event in events:
        assert not story.over
        story.take(event)
    assert story.state is State.LOST
    assert story.phase.value == phase
    assert f"in the {phase} of {NODE}" in story.loss([]).what


def test_nothing_comes_after_the_end() -> None:
    story = Story(NODE)
    for event in (said("setup"), said("call"), said("teardown"), DONE):
        story.take(event)
    assert story.state is State.DONE
    with pytest.raises(ValueError, match="after the end"):
        story.take(LATE)
    with pytest.raises(ValueError, match="is not lost"):
        story.loss([])


def test_another_tests_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="while"):
        Story(NODE).take(said("setup", nodeid="tests/test_x.py::test_z[kernel]"))


def test_an_error_of_pytests_own_is_a_loss_with_its_text() -> None:
    story = Story(NODE)
    story.take(said("setup"))
    assert story.take(Said({"is": "error", "text": "INTERNALERROR> TypeError: no JSON"})) is None
    assert story.state is State.LOST
    loss = story.loss([])
    assert type(loss) is GuestEnded
    assert f"in the call of {NODE}" in loss.what
    assert "TypeError: no JSON" in loss.hint


def test_the_log_of_an_earlier_test_is_not_this_ones() -> None:
    story = Story(NODE)
    story.take(Gone(LostVM("gone")))
    log = ["[ 1.0] theirs", f"[ 2.0] {MARK}{NODE}", "[ 3.0] ours"]
    assert story.loss(log).log == "ours"
    assert story.loss(log[:1]).log == "theirs"


def test_a_killed_pytest_without_a_killer_is_no_memory_problem() -> None:
    story = Story(NODE)
    story.take(Ended(137))
    assert type(story.loss(["[ 1.0] nothing special"])) is GuestEnded


@pytest.mark.parametrize(
    "event", [DONE, Ended(3), LATE, Gone(LostVM("what", hint="do")), Gone(KernelPanic("what"))]
)
def test_an_event_survives_its_storage(event: Said | Ended | Late | Gone) -> None:
    again = from_json(json.loads(json.dumps(to_json(event))))
    if isinstance(event, Gone):
        assert isinstance(again, Gone)
        assert (type(again.error), again.error.what) == (type(event.error), event.error.what)
    else:
        assert again == event
