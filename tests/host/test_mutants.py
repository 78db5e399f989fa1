"""The VM tests can fail: deliberate bugs are caught, on every kernel, by the tests that are about them.

Two of them here; ``make mutants`` has them all.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from harness import CHECKOUT
from mutant_run import Trial, trial
from mutants import MUTANTS, Mutant, make

if TYPE_CHECKING:
    from pathlib import Path

IN_SHORT = ("secondary MMUs are not told", "references are not counted")


@pytest.mark.parametrize(
    "mutant",
    [mutant for mutant in MUTANTS if mutant.name in IN_SHORT],
    ids=lambda mutant: mutant.name.replace(" ", "-"),
)
def test_a_mutant_is_caught_on_every_kernel(mutant: Mutant, tmp_path: Path) -> None:
    with ThreadPoolExecutor(len(mutant.kernels)) as pool:
        trials = pool.map(lambda name: trial(mutant, name, tmp_path / name), mutant.kernels)
    for each in trials:
        assert each.good, "\n".join([each.kernel, each.verdict, *each.lines[-60:]])


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
