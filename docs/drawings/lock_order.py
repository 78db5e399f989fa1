"""The order in which the driver takes its locks, read from the comment at the top of kernel/ksm.h."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from drawings.canvas import Canvas

NAME = "lock-order"
HEADER = Path(__file__).resolve().parents[2] / "kernel/ksm.h"
_START = "Locking order, outermost first:"
_LINE = re.compile(r"^ \*\t(?P<indent> *)(?P<name>\S.*?)(?:\t+\((?P<note>.*)\))?$")
_STEP, _HEIGHT = 58, 44


class LockOrderError(ValueError):
    """The comment does not read as a lock order."""


@dataclass(frozen=True)
class Lock:
    """A lock, and what the comment says of it."""

    name: str
    note: str


def locks(header: Path = HEADER) -> list[Lock]:
    """Read the locks, outermost first.

    Raises:
        LockOrderError: the comment is not there, or its lines are not each one step deeper than the last.
    """
    _, start, rest = header.read_text().partition(_START)
    if not start:
        raise LockOrderError(f"{header} has no line {_START!r}. Nothing was drawn")
    block = rest.split("\n *\n")[1].splitlines()
    found = []
    for depth, line in enumerate(block):
        one = _LINE.match(line)
        if one is None or len(one["indent"]) != 2 * depth:
            raise LockOrderError(
                f"{header}: {line!r} is not a lock at depth {depth}. Nothing was drawn"
            )
        found.append(Lock(one["name"].strip(), one["note"] or ""))
    return found


def draw() -> str:
    """Return the SVG."""
    order = locks()
    height = 96 + _STEP * len(order) + 20
    names = ", ".join(lock.name for lock in order)
    sheet = Canvas(
        760,
        height,
        "The locking order of the driver",
        f"Outermost first: {names}. Whoever holds one takes only those after it.",
    )
    sheet.text(30, 40, "Locking order", "head")
    sheet.text(30, 62, "whoever holds one takes only those further down", "dim small")
    for depth, lock in enumerate(order):
        x, y = 30 + depth * 30, 84 + depth * _STEP
        css = "two" if lock.name == "ksm_lock" else "one"
        sheet.box(x, y, 220, _HEIGHT, css)
        sheet.text(x + 110, y + 27, lock.name, "middle code strong")
        if lock.note:
            sheet.text(x + 234, y + 27, lock.note, "small")
        if depth:
            sheet.arrow(
                (x - 15, y - _STEP + _HEIGHT), (x - 15, y + _HEIGHT / 2), (x, y + _HEIGHT / 2)
            )
    return sheet.svg()
