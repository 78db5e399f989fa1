"""Recordings of a terminal: taken from a real command, stored, and drawn."""

from __future__ import annotations

import io
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from ksmlab.demo.record import RunRecord
from ksmlab.demo.rich_view import RichView
from recording import film
from recording.cast import Cast, RecordingError, record

DEMO = Path(__file__).resolve().parents[2] / "docs/images/demo.svg"
RUN = Path(__file__).with_name("data") / "demo-run.json"
COLUMNS, ROWS = 52, 20
#: The first words of the rows that the demo updates in place.
COUNTERS = ("pages_shared", "kernel_pages_allocated", "full_scans", "pages_volatile", "skipped")
#: At the width of a phone, the letters of a recording have as many pixels at least.
PHONE, LEAST = 390, 12
SVG = "{http://www.w3.org/2000/svg}"
CAST = Cast(
    20,
    3,
    "a command",
    (
        (0.0, "\x1b[1mone\x1b[0m\r\n"),
        (0.5, "\u280b waits"),
        (1.0, "\r\u2819 waits"),
        (9.0, "\r\x1b[2Ktwo <\x1b[32m✓\x1b[0m>\r\n"),
        (9.1, "\x1b[2"),
        (9.11, "mdim\x1b[0m"),
    ),
)


def test_a_command_is_recorded() -> None:
    program = "import os; print(os.get_terminal_size().columns, os.isatty(1))"
    made = record([sys.executable, "-c", program], 40, 5, deadline=60)
    assert "".join(text for _, text in made.pieces).split() == ["40", "True"]
    assert (made.width, made.height) == (40, 5)


def test_a_command_that_fails_or_hangs_is_not_stored() -> None:
    with pytest.raises(RecordingError, match="status 3"):
        record([sys.executable, "-c", "raise SystemExit(3)"], 40, 5, deadline=60)
    with pytest.raises(RecordingError, match="still running after 1 s"):
        record(["cat"], 40, 5, deadline=1)


def test_it_is_stored_and_read_again(tmp_path: Path) -> None:
    CAST.write(tmp_path / "a.cast")
    assert Cast.read(tmp_path / "a.cast") == CAST
    for text in ("", "{}", '{"version": 1, "width": 1, "height": 1}'):
        (tmp_path / "a.cast").write_text(text)
        with pytest.raises(RecordingError, match="Nothing was drawn"):
            Cast.read(tmp_path / "a.cast")


def test_what_only_spins_is_one_state_and_waits_are_cut() -> None:
    states = film.states(CAST)
    assert [[run[1] for row in state.rows for run in row] for state in states] == [
        ["one"],
        ["one", "⠋ waits"],
        ["one", "two <", "✓", ">", "dim"],
    ]
    assert [state.seconds for state in states] == [0.5, film.LONGEST, film.LAST]
    with pytest.raises(RecordingError, match="printed nothing"):
        film.states(Cast(20, 3, "silent", ()))


def test_it_is_drawn() -> None:
    root = ET.fromstring(film.svg(CAST))
    words = {one.text: one for one in root.iter(f"{SVG}text")}
    assert words["one"].get("class") == "bold"
    assert words["✓"].get("class") == "fg-green"
    assert words["dim"].get("class") == "fg-brightblack"
    assert "two <" in words
    text = root.findtext(f"{SVG}style") or ""
    assert text.count("translateY") == 3 + 2
    assert "prefers-reduced-motion: reduce" in text
    assert "prefers-color-scheme: dark" in text
    known = {one.get("id") for one in root.iter() if one.get("id", "").startswith("r")}
    assert {(one.get("href") or "")[1:] for one in root.iter(f"{SVG}use")} == known


def test_since_drops_everything_before_the_match_and_starts_at_zero() -> None:
    cast = replace(
        CAST, pieces=((1.0, "boot\r\n"), (3.0, "ready\r\n-me"), (4.0, "rge-\r\n"), (5.0, "done"))
    )
    cut = cast.since(r"-m\w+-")
    assert cut.pieces == ((0.0, "-me"), (1.0, "rge-\r\n"), (2.0, "done"))
    assert replace(cut, pieces=cast.pieces) == cast
    assert cast.since("").pieces[0] == (0.0, "boot\r\n")
    with pytest.raises(RecordingError, match="nothing that matches 'never'"):
        cast.since("never")


def screens(svg: ET.Element) -> list[list[tuple[float, str]]]:
    """Return the states of a drawing, each as rows with their place and their text."""
    rows = {
        one.get("id"): "".join(text.text or "" for text in one)
        for one in svg.iter(f"{SVG}g")
        if one.get("id")
    }
    return [
        [(float(use.get("y", "nan")), rows[use.get("href", "")[1:]]) for use in state]
        for state in svg.iter(f"{SVG}g")
        if state.get("transform")
    ]


def test_recording_in_the_readme_starts_at_the_merge_and_has_20_rows() -> None:
    """If it does not: make images."""
    root = ET.fromstring(DEMO.read_text())
    window = root.find(f"{SVG}svg")
    assert window is not None
    states = screens(root)
    row = states[0][1][0] - states[0][0][0]
    assert float(window.get("height", "0")) == ROWS * row
    first = [text for _, text in states[0]]
    assert "/dev/ksm: 3 processes" in first[1]
    assert first[0].startswith("╭")
    assert not [text for state in states for _, text in state if "booting" in text]
    assert "checks hold" in "".join(text for _, text in states[-1])
    assert states[-1][-1][1].endswith("build/demo/index.html")


def log_rows(record: RunRecord, width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the rows that a terminal of this width shows for the lines of a run, without their times."""
    out = io.StringIO()
    monkeypatch.setattr("ksmlab.demo.rich_view.Console", partial(Console, file=out, width=width))
    view = RichView()
    view.title(record.title)
    for line in record.lines:
        match line.kind:
            case "step":
                view.step(line.text)
            case "note":
                view.note(line.text)
            case "check":
                view.check(*line.text.split(": ", 1))
            case _:
                view.failure(line.text)
    return [compact(row) for row in out.getvalue().splitlines() if row.strip()]


def compact(row: str) -> str:
    """Return a row without its blanks and the time of a step."""
    return re.sub(r"^\d+\.\ds", "", "".join(row.split()))


def test_recording_in_the_readme_shows_the_stored_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it does not: make images, which stores both from one run."""
    record = RunRecord.read(RUN)
    drawn = {
        compact(text) for state in screens(ET.fromstring(DEMO.read_text())) for _, text in state
    }
    logged = log_rows(record, COLUMNS, monkeypatch)
    assert len(logged) > len(record.lines)
    assert not [row for row in logged if row not in drawn]
    # The rest are the counters, the verdict and the last line.
    rest = [row for row in drawn if row not in logged and not row.startswith(COUNTERS)]
    verdict = "".join(record.verdict.split())
    assert sorted(rest) == ["Frames,counters,events:build/demo/index.html", f"│{verdict}│"]


def test_recording_in_the_readme_is_legible_on_a_phone() -> None:
    root = ET.fromstring(DEMO.read_text())
    size = re.search(r"^text \{.*?(\d+)px", root.findtext(f"{SVG}style") or "", re.MULTILINE)
    assert size
    assert int(size[1]) * PHONE / float(root.get("width", "inf")) >= LEAST
