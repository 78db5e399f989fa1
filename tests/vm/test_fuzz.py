"""By chance, but with a model that knows the answer: see fuzz_machine.py.

``--fuzz-examples N`` plays more sequences, in parts with a deadline each; ``--fuzz-seed`` plays the
same ones again. One that fails, or that the kernel complains about, is made shorter, and the report
has a program that replays it; how to get one after a panic, fuzz_script.py says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fuzz_machine import FuzzMachine
from fuzz_play import play

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuzz


def test_any_sequence(fuzz_part: tuple[int, int], vm_kernel: str, tmp_path: Path) -> None:
    examples, seed = fuzz_part
    FuzzMachine.most_shared = FuzzMachine.most_poisoned = 0
    print(f"--kernel {vm_kernel} --fuzz-examples {examples} --fuzz-seed {seed}")
    with FuzzMachine.surroundings(tmp_path):
        play(FuzzMachine, examples, seed, options=f"--kernel {vm_kernel} ")
    assert FuzzMachine.most_shared > 0, "nothing has merged in any sequence"
    print(f"at most {FuzzMachine.most_poisoned} memory errors in a sequence")
