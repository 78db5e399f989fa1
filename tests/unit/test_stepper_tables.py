"""The tables that the site turns into steppers: their columns, and their steps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
MARKED = re.compile(r"^<!-- class stepper -->\n(?P<rows>(?:.*\n)*?)(?:\n|\Z)", re.MULTILINE)
TABLES = [
    pytest.param(found["rows"], id=f"{path.stem}-{number}")
    for path in sorted(DOCS.rglob("*.md"))
    for number, found in enumerate(MARKED.finditer(path.read_text()))
]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_a_lesson_has_a_stepper() -> None:
    assert TABLES


@pytest.mark.parametrize("rows", TABLES)
def test_stepper_table_has_a_step_two_actors_and_a_state(rows: str) -> None:
    head, _, *steps = [cells(line) for line in rows.splitlines()]
    assert head[0] == "step"
    assert head[-1].startswith("state of ")
    assert len(head) == 4
    assert [row[0] for row in steps] == [str(number) for number in range(1, len(steps) + 1)]
    for row in steps:
        assert len(row) == len(head)
        assert any(row[1:-1]), "a step in which no actor does anything"
        assert row[-1], "a step without a state"
