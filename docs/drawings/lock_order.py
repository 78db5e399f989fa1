"""The order in which the driver takes its locks, read from the comment at the top of kernel/ksm.h."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from drawings.canvas import WIDTH, Canvas

NAME = "lock-order"
HEADER = Path(__file__).resolve().parents[2] / "kernel/ksm.h"
_START = "Locking order, outermost first:"
_LINE = re.compile(r"^ \*\t(?P<indent> *)(?P<name>\S.*?)(?:\t+\((?P<note>.*)\))?$")
_BETWEEN = re.compile(r", | or ")
_STEP, _HEIGHT, _INDENT, _LEFT, _TOP = 66, 50, 16, 16, 72

#: The arrows: while a thread holds the first lock, it waits for the second. Both are names in the comment. There is
#: none from ksm_lock to an mmap lock: while the driver holds ksm_lock, it only tries mmap locks.
ARROWS = (
    ("ksm_run_lock", "ksm_lock"),
    ("ksm_run_lock", "mm->mmap_lock"),
    ("area->lock", "ksm_lock"),
    ("area->lock", "mm->mmap_lock"),
    ("prune_lock", "ksm_lock"),
    ("mm->mmap_lock", "MMU notifier start"),
    ("mm->mmap_lock", "page-table lock"),
)

#: What lockdep calls them, as patterns. Of page-table locks there are two kinds, one for the tables of each of two
#: levels; it numbers them.
LOCKDEP_NAMES = {
    "ksm_run_lock": r"ksm_run_lock",
    "area->lock": r"&area->lock",
    "prune_lock": r"prune_lock",
    "ksm_lock": r"ksm_lock",
    "mm->mmap_lock": r"&mm->mmap_lock",
    "MMU notifier start": r"ksm_mmu_notifier_invalidate_range_start",
    "page-table lock": r"ptlock_ptr\(\w+\)",
}


class LockOrderError(ValueError):
    """The comment does not read as a lock order."""


@dataclass(frozen=True)
class Level:
    """A line of the comment: the locks at one depth, and the note in parentheses.

    A thread holds at most one of the locks of a level.
    """

    locks: tuple[str, ...]
    note: str


def levels(header: Path = HEADER) -> list[Level]:
    """Read the order, outermost level first.

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
        found.append(Level(tuple(_BETWEEN.split(one["name"])), one["note"] or ""))
    return found


def draw() -> str:
    """Return the SVG.

    Raises:
        LockOrderError: the comment is no order, or not one of the locks that the arrows are of.
    """
    order = levels()
    depths = {lock: depth for depth, level in enumerate(order) for lock in level.locks}
    for outer, inner in ARROWS:
        if not {outer, inner} <= depths.keys() or depths[outer] >= depths[inner]:
            raise LockOrderError(
                f"{HEADER} has no {outer!r} before {inner!r}, which ARROWS has. Nothing was drawn"
            )
    names = ", ".join(" or ".join(level.locks) for level in order)
    arrows = "; ".join(f"{outer} to {inner}" for outer, inner in ARROWS)
    sheet = Canvas(
        _TOP + _STEP * len(order) + 66,
        "The locking order of the driver",
        f"Outermost first: {names}. A thread that holds one waits only for those of later levels. "
        f"An arrow leads from a lock to what a thread may wait for while it holds that lock: {arrows}.",
    )
    sheet.text(_LEFT, 32, "Locking order", "head")
    sheet.text(_LEFT, 52, "a thread that holds one waits only for those below", "dim small")
    last: dict[int, float] = {}
    for depth, level in enumerate(order):
        x, y = _LEFT + depth * _INDENT, _TOP + depth * _STEP
        sheet.box(
            x, y, WIDTH - _LEFT - x, _HEIGHT, "two" if level.locks == ("ksm_lock",) else "one"
        )
        note = level.note or ("a thread holds at most one of them" if level.locks[1:] else "")
        sheet.text(x + 12, y + (21 if note else 30), " | ".join(level.locks), "code strong")
        if note:
            sheet.text(x + 12, y + 40, note, "small")
        for upper in sorted({depths[outer] for outer, inner in ARROWS if inner in level.locks}):
            # Down along the left of all boxes between the two.
            trunk, top = _LEFT + upper * _INDENT + 8, _TOP + upper * _STEP + _HEIGHT
            sheet.arrow(
                (trunk, last.get(upper, top)), (trunk, y + _HEIGHT / 2), (x, y + _HEIGHT / 2)
            )
            last[upper] = y + _HEIGHT / 2
    sheet.lines(
        _LEFT,
        _TOP + _STEP * len(order) + 14,
        "An arrow: a thread holds a lock of the upper box while it\n"
        "waits for the lower one. On a debug kernel, a test asks\n"
        "lockdep whether it has seen each, and none reversed.",
        "dim small",
        18,
    )
    return sheet.svg()
