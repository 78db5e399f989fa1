"""The demonstration: the stored run, from which the images of README.md are drawn, is what a new run shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ksmlab.demo.record import RunRecord
from ksmlab.patience import patient

STORED = Path(__file__).parents[1] / "unit/data/demo-run.json"
#: Some words of a line differ in each run: the process that writes, and the time that a step took.
VARIES = re.compile(r"Process \d+")


def lines(path: Path) -> list[tuple[str, str]]:
    record = RunRecord.read(path)
    return [(line.kind, VARIES.sub("Process PID", line.text)) for line in record.lines]


def test_stored_run_shows_what_a_new_run_shows(tmp_path: Path) -> None:
    """If it does not, run: make images."""
    record = tmp_path / "run.json"
    command = [sys.executable, "-m", "ksmlab.demo", "--view", "plain", "--record", str(record)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=patient(600)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines(record) == lines(STORED)
