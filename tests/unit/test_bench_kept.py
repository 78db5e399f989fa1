"""Results that pages show: what is kept of a results.json, and the rows that a page asks for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ksmlab.bench import kept
from ksmlab.bench.kept import KeptError, Measured

if TYPE_CHECKING:
    from pathlib import Path

ROW = {
    "workload": "sparse", "metric": "metadata_per_page", "ours": 17.0, "in_kernel": 0.5,
    "ratio": 0.03, "target": 2.0, "met": False,
}  # fmt: skip
RESULTS = {
    "command": "ksmlab bench", "commit": "0123456789abcdef", "machine": "a CPU",
    "when": "2026-11-23T08:20:56+00:00", "samples": [1, 2],
    "targets": [{**ROW, "kernel": "debian-6.1", "reason": "an array"}, ROW],
}  # fmt: skip


def test_samples_are_left_out_and_rows_are_tables_by_kernel(tmp_path: Path) -> None:
    source, target = tmp_path / "results.json", tmp_path / "data/kept.json"
    source.write_text(json.dumps(RESULTS))
    kept.keep(source, target)
    assert "samples" not in json.loads(target.read_text())
    text = Measured.read(target).markdown(["sparse"], ["metadata_per_page"])
    assert text.startswith("debian-6.1:\n\n| workload and figure |")
    row = "| sparse: metadata for each page | 17.0 B, 0.5 B | 0.03x | ≥ 2x, missed |"
    assert text.count(row) == 2
    assert text.endswith("(`ksmlab bench`, commit 0123456789ab, 2026-11-23, a CPU)")


def test_what_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(KeptError, match=r"does not contain results.*ksmlab\.bench\.kept"):
        Measured.read(tmp_path / "nothing.json")
    source = tmp_path / "results.json"
    source.write_text(json.dumps(RESULTS))
    with pytest.raises(KeptError, match=r"no target for writer\."):
        Measured.read(source).markdown(["writer"])
