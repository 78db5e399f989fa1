"""The VM tests can fail: a deliberate bug is caught by the tests that are about it.

One of them here, on one kernel; ``make mutants`` has them all, on every kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness import CHECKOUT, KERNEL
from mutant_run import Trial, trial
from mutants import MUTANTS, Mutant, make

if TYPE_CHECKING:
    from pathlib import Path

IN_SHORT = "references are not counted"


def test_a_mutant_is_caught(tmp_path: Path) -> None:
    (mutant,) = (mutant for mutant in MUTANTS if mutant.name == IN_SHORT)
    done = trial(mutant, KERNEL, tmp_path)
    assert done.good, "\n".join([done.verdict, *done.lines[-60:]])


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_each_edit_fits_the_source(mutant: Mutant, tmp_path: Path) -> None:
    make(mutant, CHECKOUT / "kernel", tmp_path / "source")
    assert (CHECKOUT / mutant.test.partition("::")[0]).is_file()


def outcome(*lines: str, test: str = "tests/vm/test_x.py::test_a", sign: str = "lost") -> Trial:
    return Trial.of("a bug", "a kernel", test, sign, 1 if lines else 0, lines, 1.0)


def test_only_the_test_that_is_meant_catches_and_only_as_meant() -> None:
    right = "FAILED tests/vm/test_x.py::test_a[1] - AssertionError: 3 of 4 are lost"
    assert outcome(right).verdict == "caught"
    assert outcome().verdict == "SURVIVED"
    assert outcome("INTERNALERROR> lost").verdict == "NOT RUN"
    assert outcome("FAILED no test was running - LostVM").verdict == "NOT RUN"
    assert outcome("FAILED tests/vm/test_x.py::test_a - TimeoutError").verdict == "NOT AS MEANT"
    assert outcome(right, test="tests/vm/test_y.py").verdict == "NOT AS MEANT"
    assert outcome(right, test="tests/vm/test_x.py").verdict == "caught"
    assert outcome(right, test="tests/vm/test_x.py::test").verdict == "NOT AS MEANT"
