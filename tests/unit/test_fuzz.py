"""The fuzzer itself, with a driver that is not one: it finds a planted failure, and prints a program for it."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_fake import FakeMachine, PlantedMachine
from fuzz_play import FuzzError, play
from fuzz_script import save

STEPS = 10
#: How far a sequence is shortened depends on chance; this test is not about that.
SEED = 1
ROOT = Path(__file__).resolve().parents[2]


def replay(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_a_driver_without_bugs_passes(tmp_path: Path) -> None:
    play(FakeMachine, 20, random.randrange(1 << 32), tmp_path / "replay.py")
    assert not (tmp_path / "replay.py").exists()


def test_a_planted_failure_shrinks_and_its_program_replays_it(tmp_path: Path) -> None:
    path = tmp_path / "replay.py"
    with pytest.raises(FuzzError) as caught:
        play(PlantedMachine, 300, SEED, path, steps=STEPS)
    text = path.read_text()
    assert text in str(caught.value)
    compile(text, str(path), "exec")
    # Two steps would do; what Hypothesis comes to is short, and not always the shortest.
    steps = re.findall(r"^    state\.(\w+)", text, re.MULTILINE)
    assert steps[-2:] == ["register", "teardown"]
    assert len(steps) <= STEPS // 2
    done = replay(path)
    assert done.returncode == 1
    assert "ended with EEXIST, not OK" in done.stderr
    # Without the bug, the same program passes.
    path.write_text(text.replace("PlantedMachine", "FakeMachine"))
    done = replay(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("all steps passed")


def test_where_it_cannot_be_written_the_program_goes_elsewhere() -> None:
    saved = save("text", Path("/proc/no/replay.py"))
    assert saved.read_text() == "text"
    assert saved.name == "replay.py"
