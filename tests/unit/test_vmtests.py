"""Following pytest in a VM by its lines, and summing up several of them."""

from __future__ import annotations

from collections import Counter

from ksmlab.vmtests import Follower, Outcome, closing_line

OUTPUT = (
    "collecting ... \rcollected 12 items / 9 deselected / 3 selected\n"
    "\n"
    "tests/vm/test_a.py::test_one PASSED                      [ 33%]\r\n"
    "tests/vm/test_a.py::test_two[a b-1] SKIPPED (no swap)    [ 66%]\n"
    "tests/vm/test_b.py::test_three "
)
REST = "FAILED     [100%]\n\n==== 1 failed, 1 passed, 1 skipped, 9 deselected in 3.21s ====\n"


def test_what_is_running_is_known() -> None:
    lines: list[str] = []
    follower = Follower(lines.append)
    for character in OUTPUT:
        follower.feed(character)
    assert follower.running == "tests/vm/test_b.py::test_three"
    assert lines[0] == "collected 12 items / 9 deselected / 3 selected"
    follower.feed(REST)
    assert follower.running is None
    assert follower.counts == {"failed": 1, "passed": 1, "skipped": 1, "deselected": 9}
    assert lines[4].startswith("tests/vm/test_b.py::test_three FAILED")


def test_a_lost_vm_fails_the_test_that_was_running() -> None:
    lines: list[str] = []
    follower = Follower(lines.append)
    follower.feed(OUTPUT.replace("12 items / 9 deselected / 3 selected", "5 items"))
    follower.close()
    assert lines[-1] == "tests/vm/test_b.py::test_three "
    assert follower.running == "tests/vm/test_b.py::test_three"
    assert follower.counts_so_far() == {"passed": 1, "skipped": 1, "failed": 1, "not run": 2}


def test_durations_over_a_minute_are_read() -> None:
    follower = Follower(lambda _line: None)
    follower.feed("======= 57 passed, 2 warnings in 123.45s (0:02:03) =======\n")
    assert follower.counts == {"passed": 57, "warning": 2}


def test_the_closing_line_is_pytests() -> None:
    outcomes = [
        Outcome("a", 0, Counter(passed=3, skipped=1)),
        Outcome("b", 1, Counter({"passed": 2, "failed": 1, "not run": 4})),
    ]
    line = closing_line(outcomes, 12.3)
    assert line.strip("= ") == "1 failed, 5 passed, 1 skipped, 4 not run in 12.30s"
    assert closing_line([], 1).strip("= ") == "no tests ran in 1.00s"
