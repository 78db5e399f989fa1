"""By chance, but with a model that knows the answer: see fuzz_machine.py.

``--fuzz-examples N`` plays more sequences, in parts with a deadline each; ``--fuzz-seed`` plays the
same ones again.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pytest
from fuzz_machine import QUICK, FuzzMachine
from fuzz_play import play
from swap import swap

from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuzz


def test_any_sequence(
    fuzz_part: tuple[int, int], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    examples, seed = fuzz_part
    FuzzMachine.most_shared = 0
    print(f"--fuzz-examples {examples} --fuzz-seed {seed} on {platform.release()}")
    # What a sequence sets is nobody else's.
    with swap(tmp_path), KsmSysfs.find().settings(run=0, **QUICK):
        play(FuzzMachine, examples, seed, request.config.rootpath / "build/fuzz-failure.py")
    assert FuzzMachine.most_shared > 0, "nothing has merged in any sequence"
