"""Test that the VM tests detect a deliberate bug.

This tests one mutant on one kernel. ``make mutants`` tests all of them on all kernels.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import mutant_run
import pytest
from harness import CHECKOUT, KERNEL
from mutant_run import CONTROL, NEVER, Trial, trial
from mutants import MUTANTS, Mutant, make

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

IN_SHORT = "references are not counted"


def test_a_mutant_is_caught(tmp_path: Path) -> None:
    (mutant,) = (mutant for mutant in MUTANTS if mutant.name == IN_SHORT)
    done = trial(mutant, KERNEL, tmp_path)
    assert done.good, "\n".join([done.verdict, *done.lines[-60:]])


each = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))


@each
def test_each_edit_fits_the_source(mutant: Mutant, tmp_path: Path) -> None:
    make(mutant, CHECKOUT / "kernel", tmp_path / "source")


@each
def test_each_names_a_test_and_a_failure_that_no_other_looks_like(mutant: Mutant) -> None:
    file, _, name = mutant.test.partition("::")
    source = (CHECKOUT / file).read_text()
    functions = {
        node.name: str(ast.get_source_segment(source, node))
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }
    assert name in functions
    # A traceback shows lines of the test and of the functions that it calls, for any failure.
    for function, text in functions.items():
        if function == name or not function.startswith("test_"):
            assert not re.search(mutant.sign, text), function


@pytest.mark.parametrize("survivor", [None, MUTANTS[0].name])
def test_the_run_fails_when_one_survives(
    survivor: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Evaluate trials that did not really run."""

    def control(kernel: str, mutants: Sequence[Mutant], directory: Path) -> Trial:
        return Trial.of(CONTROL, kernel, "", NEVER, 0, [], 1.0)

    def trial(mutant: Mutant, kernel: str, directory: Path) -> Trial:
        lines = [] if mutant.name == survivor else [f"FAILED {mutant.test} - it is lost"]
        return Trial.of(mutant.name, kernel, mutant.test, "lost", bool(lines), lines, 1.0)

    monkeypatch.setattr(mutant_run, "control", control)
    monkeypatch.setattr(mutant_run, "trial", trial)
    monkeypatch.setattr(mutant_run, "CHECKOUT", tmp_path)
    assert mutant_run.main([]) == (1 if survivor else 0)
    assert ("SURVIVED" in capsys.readouterr().out) == bool(survivor)


def outcome(*lines: str, test: str = "tests/vm/test_x.py::test_a", sign: str = "lost") -> Trial:
    return Trial.of("a bug", "a kernel", test, sign, 1 if lines else 0, lines, 1.0)


def test_only_the_test_that_is_meant_catches_and_only_as_meant() -> None:
    right = "FAILED tests/vm/test_x.py::test_a[1] - AssertionError: 3 of 4 are lost"
    assert outcome(right).verdict == "caught"
    assert outcome().verdict == "SURVIVED"
    assert outcome("INTERNALERROR> lost").verdict == "NOT RUN"
    assert outcome("FAILED no test was running - LostVM").verdict == "NOT RUN"
    assert outcome("FAILED tests/vm/test_x.py::test_a - TimeoutError").verdict == "NOT AS MEANT"
    assert outcome(right, test="tests/vm/test_y.py::test_a").verdict == "NOT AS MEANT"
    assert outcome(right, test="tests/vm/test_x.py::test").verdict == "NOT AS MEANT"
