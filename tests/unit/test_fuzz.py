"""The fuzzer itself, with a driver that is not one: it finds a planted failure, and prints a program for it."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_fake import FakeMachine, PlantedMachine, WarningMachine
from fuzz_play import FuzzError, play
from fuzz_script import from_log, main

STEPS = 10
#: How far a sequence is shortened depends on chance; this test is not about that.
SEED = 1
ROOT = Path(__file__).resolve().parents[2]


def replay(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_a_driver_without_bugs_passes(capsys: pytest.CaptureFixture[str]) -> None:
    play(FakeMachine, 20, random.randrange(1 << 32))
    assert capsys.readouterr().out == ""


def steps_of(program: str) -> list[str]:
    return re.findall(r"^        state\.(\w+)", program, re.MULTILINE)


def test_a_planted_failure_shrinks_and_its_program_replays_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FuzzError) as caught:
        play(PlantedMachine, 300, SEED, steps=STEPS, options="--kernel planted ")
    program = caught.value.program
    # The report has the program as whole lines, so that a reader can copy it.
    assert f"\n{capsys.readouterr().out}".endswith(f"\n{program}\n")
    assert "ksmlab vm run --kernel planted -- " in program
    # Two steps would do; what Hypothesis comes to is short, and not always the shortest.
    steps = steps_of(program)
    assert steps[-2:] == ["register", "teardown"]
    assert len(steps) <= STEPS // 2
    path = tmp_path / "replay.py"
    path.write_text(program)
    done = replay(path)
    assert done.returncode == 1
    assert "ended with EEXIST, not OK" in done.stderr
    # Without the bug, the same program passes.
    path.write_text(program.replace("PlantedMachine", "FakeMachine"))
    done = replay(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("all steps passed")


def test_what_the_kernel_complains_about_is_a_failure_of_the_step_before() -> None:
    with pytest.raises(FuzzError, match="the kernel reported errors: WARNING: ") as caught:
        play(WarningMachine, 300, SEED, steps=STEPS)
    assert steps_of(caught.value.program) == ["mremap", "teardown"]


def test_what_the_kernel_says_once_and_never_again_has_its_sequence_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = [*WarningMachine.said.values()]

    def listen(machine: FakeMachine) -> list[str]:
        return (
            [left.pop()] if left and machine.history and machine.history[-1][0] == "mremap" else []
        )

    monkeypatch.setattr(WarningMachine, "listen", listen)
    with pytest.raises(FuzzError) as caught:
        play(WarningMachine, 300, SEED, steps=STEPS)
    assert steps_of(caught.value.program)[-2:] == ["mremap", "teardown"]


CONSOLE = """\
[   20.1] fuzz: 1: wait(passes=1)
[   20.2] fuzz: 2: fork(process=3)
[   21.0] fuzz: 1: map(process=0, first=2, count=3, prot='rw')
[   21.1] a line of another driver
[   21.2] fuzz: 2: descriptor(process=1, area=0, how='dup', to=5)\r
[   21.3] Kernel panic - not syncing: it
"""


def test_a_program_is_made_of_what_the_console_has_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "console.log"
    log.write_text(CONSOLE)
    main([str(log), "--kernel", "debug-6.1"])
    program = capsys.readouterr().out
    compile(program, "replay.py", "exec")
    assert "ksmlab vm run --kernel debug-6.1 -- " in program
    assert re.findall(r"^        state\.(.*)", program, re.MULTILINE) == [
        "map(process=0, first=2, count=3, prot='rw')",
        "descriptor(process=1, area=0, how='dup', to=5)",
        "teardown()",
    ]


def test_a_log_without_its_beginning_is_refused() -> None:
    with pytest.raises(ValueError, match="step 2 comes after step 0"):
        from_log(CONSOLE.splitlines()[1:2])
    with pytest.raises(ValueError, match="no line of the fuzzer's"):
        from_log([])
