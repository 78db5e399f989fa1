"""Recordings of a terminal: taken from a real command, stored, and drawn."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from recording import film
from recording.cast import Cast, RecordingError, record

if TYPE_CHECKING:
    from pathlib import Path

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
