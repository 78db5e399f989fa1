"""Run a project whose tests end in all possible ways, and check the reports of the host."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import KERNEL

from ksmlab.vm import accel
from ksmlab.vm.config import EMULATION_FACTOR

if TYPE_CHECKING:
    from outside import Project, Run

OUTCOME = re.compile(
    r"^\S+::(?P<test>\w+)\[(?P<id>[^]]*)\] (?P<outcome>[A-Z]+\b(?: VM)?)(?: \((?P<why>[^)]*)\))?.*%\]$",
    re.MULTILINE,
)
LOST = {
    "test_sysrq": "KernelPanic",
    "test_oops_in_a_module": "KernelPanic",
    "test_loop_with_interrupts_off": "Hang",
    "test_waits_for_ever": "Hang",
    "test_out_of_memory": "GuestMemory",
    "test_breaks_its_pytest": "GuestEnded",
    "test_ends_its_pytest": "GuestEnded",
    "test_killed_from_outside": "LostVM",
}
FAILED = {
    "test_fails",
    "test_warning_of_the_kernel",
    "test_warning_before_a_skip",
    "test_warning_instead_of_the_failure_that_is_known",
    "test_child_out_of_memory",
    "test_report_with_a_newline_in_a_task_name",
    "test_log_cannot_be_read",
}
PASSED = {
    "test_passes",
    "test_runs_in_the_vm",
    "test_parametrised",
    "test_leaks",
    "test_waived_warning",
    "test_warns",
    "test_after_a_crash",
}


def qemus_of(project: Project) -> list[int]:
    """Find the VMs of a project: QEMU runs in the directory in which pytest was started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # A process may end while it is examined.
        with contextlib.suppress(OSError):
            program = (process / "cmdline").read_text(errors="replace").partition("\0")[0]
            if "qemu-system" in program and (process / "cwd").readlink() == project.root:
                found.append(int(process.name))
    return found


@pytest.fixture(scope="module")
def run(project: Project) -> Run:
    """Run all tests of the project once, and kill QEMU during the test that waits for it."""
    seen: list[str] = []

    def on_line(line: str) -> None:
        # The output of a test is printed while the test still runs.
        if "::test_killed_from_outside" in line:
            seen.append(line)
        if seen and "killed" not in seen and "ready after" in line:
            # The previous QEMU may not have ended yet.
            for qemu in qemus_of(project):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(qemu, signal.SIGKILL)
            seen.append("killed")

    return project.run("--durations=3", on_line=on_line)


def outcomes(run: Run) -> dict[str, tuple[str, str | None]]:
    """Return the first outcome of each test. A test that also fails in its teardown has a second one."""
    seen: dict[str, tuple[str, str | None]] = {}
    for found in OUTCOME.finditer(run.output):
        seen.setdefault(found["test"], (found["outcome"], found["why"]))
    return seen


def test_every_test_has_a_line_with_its_outcome(run: Run) -> None:
    seen = outcomes(run)
    assert {name for name, (outcome, _) in seen.items() if outcome == "FAILED"} == FAILED
    assert {name for name, (outcome, _) in seen.items() if outcome == "PASSED"} == PASSED
    assert seen["test_expected_to_fail"][0] == "XFAIL"
    assert seen["test_fails_in_the_setup"][0] == "ERROR"
    assert {name: why for name, (outcome, why) in seen.items() if outcome == "LOST VM"} == LOST
    assert run.status == 1


def test_the_counts_tell_a_lost_vm_from_a_failed_test(run: Run) -> None:
    closing = run.output.splitlines()[-1]
    # An error in a setup, one in the teardown, and one at the end, when the log cannot be read.
    assert "3 errors" in closing
    assert f"{len(LOST)} lost" in closing
    assert f"{len(FAILED)} failed" in closing
    assert f"{len(PASSED) + 1} passed, 2 skipped" in closing
    for name, kind in LOST.items():
        shown = "LostVM" if kind == "LostVM" else f"LostVM: {kind}"
        assert f"LOST tests/test_crash.py::{name}[{KERNEL}] - {shown}: " in run.output


def test_a_failure_looks_as_it_does_at_home(run: Run) -> None:
    shown = run.section(rf"_+ test_fails\[{KERNEL}\] _+\n", r"\n_{5}")
    assert '>       assert number == 3, "not three"' in shown
    assert "AssertionError: not three" in shown
    assert "assert 2 == 3" in shown
    assert re.search(r"tests/test_crash\.py:\d+: AssertionError", shown)
    assert "said before it failed" in shown
    assert "the fixture speaks" in shown


def test_report_that_a_newline_in_a_task_name_splits_has_its_whole_headline(run: Run) -> None:
    shown = run.section(
        rf"_+ test_report_with_a_newline_in_a_task_name\[{KERNEL}\] _+\n", r"\n_{5}"
    )
    assert r"hung task: INFO: task a\x0ab:12 blocked for more than 5 seconds." in shown


def test_skips_have_their_reasons(run: Run) -> None:
    skips = {name: case.find("skipped") for name, case in run.cases.items()}
    reasons = {name: skip.attrib["message"] for name, skip in skips.items() if skip is not None}
    assert reasons == {
        "test_skipped": "not today",
        "test_skips_itself": "found out in the VM",
        "test_expected_to_fail": "known to fail",
    }


def test_warnings_are_counted_and_shown(run: Run) -> None:
    assert "1 warning" in run.output.splitlines()[-1]
    assert "RuntimeWarning: the test warns" in run.output


def test_properties_and_times_reach_the_junit_file(run: Run) -> None:
    properties = {
        found.attrib["name"]: found.attrib["value"]
        for found in run.cases["test_runs_in_the_vm"].iter("property")
    }
    assert properties["release"].startswith(KERNEL.split("-")[1])
    assert properties["where"] == "/no/json"
    assert float(properties["slow"]) >= (1 if accel.probe().kvm else EMULATION_FACTOR)
    assert float(run.cases["test_waits_for_ever"].attrib["time"]) > 2


def test_a_complaint_fails_a_green_test(run: Run) -> None:
    shown = run.section(rf"_+ test_warning_of_the_kernel\[{KERNEL}\] _+\n", r"\n_{5}")
    assert "the kernel reported errors: WARNING: " in shown
    # The address was decoded to a line of the module's source.
    assert re.search(r"crash_warn\+0x\w+/0x\w+ \[crash\].*\(crash\.c:\d+\)", shown), shown
    # The report is not in the log of any other test.
    told = [
        name
        for name, case in run.cases.items()
        if "the kernel reported errors" in "".join(case.itertext())
    ]
    assert told == [
        "test_warning_of_the_kernel",
        "test_warning_before_a_skip",
        "test_warning_instead_of_the_failure_that_is_known",
        "test_child_out_of_memory",
        "test_report_with_a_newline_in_a_task_name",
    ]


def lost_section(run: Run, name: str) -> str:
    return run.section(rf"_+ tests/test_crash\.py::{name}\[{KERNEL}\] _+\n", r"(?:\n_{5}|\n={5})")


def test_a_panic_comes_with_the_log_of_its_test(run: Run) -> None:
    shown = lost_section(run, "test_sysrq")
    assert "in the call of tests/test_crash.py::test_sysrq" in shown
    assert "Kernel panic - not syncing: sysrq triggered crash" in shown
    assert "sysrq_handle_crash" in shown


def test_an_oops_is_decoded(run: Run) -> None:
    shown = lost_section(run, "test_oops_in_a_module")
    assert "BUG: kernel NULL pointer dereference" in shown
    assert re.search(r"crash_oops\+0x\w+/0x\w+ \[crash\].*\(crash\.c:\d+\)", shown), shown
    assert "crash_warn" not in shown


def test_a_hang_says_where(run: Run) -> None:
    shown = lost_section(run, "test_loop_with_interrupts_off")
    assert "Nothing came from the VM for " in shown
    assert re.search(r"crash_loop\+0x\w+/0x\w+ \[crash\].*\bcrash\.c:\d+\)", shown), shown


def test_what_pytest_died_of_in_the_vm_is_shown(run: Run) -> None:
    shown = lost_section(run, "test_breaks_its_pytest")
    assert "pytest in the VM failed in the call of" in shown
    assert "TypeError: keys must be str" in shown


def test_memory_says_who_was_killed(run: Run) -> None:
    shown = lost_section(run, "test_out_of_memory")
    assert "The guest ran out of memory" in shown
    assert "Out of memory: Killed process" in shown


def test_a_log_that_cannot_be_read_is_a_failure(run: Run) -> None:
    shown = run.section(rf"_+ test_log_cannot_be_read\[{KERNEL}\] _+\n", r"\n[=_]{5}")
    assert "Bad file descriptor" in shown


def test_nothing_is_left_behind(run: Run, project: Project) -> None:
    assert run.output
    assert qemus_of(project) == []
