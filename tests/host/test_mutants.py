"""The VM tests can fail: each deliberate bug is caught, on every kernel, by the tests that are about it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from harness import CHECKOUT
from mutants import MUTANTS, Mutant, make

from ksmlab.lab import Lab
from ksmlab.progress import Progress
from ksmlab.vm.build import build_modules
from ksmlab.vmtests import run_on

if TYPE_CHECKING:
    from pathlib import Path

    from ksmlab.vm.accel import Accel
    from ksmlab.vmtests import Outcome


def run(mutant: Mutant, name: str, how: Accel, directory: Path) -> tuple[Outcome, list[str]]:
    """Build a mutant for a kernel and run its tests there; give how they ended, and all lines."""
    lab = Lab(Progress())
    kernel = lab.kernel(name)
    built = build_modules(directory / "source", kernel.build_dir, directory / name)
    lines: list[str] = []
    outcome = run_on(
        kernel, built, ["-x", *mutant.tests], how, lab, lines.append, lambda _: None,
        boot_args=mutant.boot_args,
    )  # fmt: skip
    return outcome, lines


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_is_caught_on_every_kernel(mutant: Mutant, how: Accel, tmp_path: Path) -> None:
    make(mutant, CHECKOUT / "kernel", tmp_path / "source")
    names = Lab(Progress()).stock_names
    with ThreadPoolExecutor(len(names)) as pool:
        results = pool.map(lambda name: run(mutant, name, how, tmp_path), names)
    for name, (outcome, lines) in zip(names, results, strict=True):
        assert outcome.status != 0, f"{name}: no test of {mutant.tests} caught it"
        assert any(mutant.sign in line for line in lines), "\n".join([name, *lines[-60:]])
