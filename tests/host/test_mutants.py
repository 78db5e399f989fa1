"""The VM tests can fail: each deliberate bug is caught, on every kernel, by the tests that are about it."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", ["debian-6.1", "debian-6.12"])
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_is_caught(mutant: Mutant, name: str, how: Accel, tmp_path: Path) -> None:
    lab = Lab(Progress())
    kernel = lab.kernel(name)
    make(mutant, CHECKOUT / "kernel", tmp_path / "source")
    built = build_modules(tmp_path / "source", kernel.build_dir, tmp_path / "built")
    lines: list[str] = []

    outcome = run_on(
        kernel, built, ["-x", *mutant.tests], how, lab, lines.append, lambda _: None,
        boot_args=mutant.boot_args,
    )  # fmt: skip

    assert outcome.status != 0, f"no test of {mutant.tests} caught it"
    assert any(mutant.sign in line for line in lines), "\n".join(lines[-60:])
