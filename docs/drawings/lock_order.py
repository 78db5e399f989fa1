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

#: The arrows: while a thread holds the first lock it waits for the second. Both are names in the comment. There is none
#: from ksm_lock to an mmap lock: while the driver holds ksm_lock, it only tries mmap locks.
ARROWS = (
    ("ksm_run_lock", "ksm_lock"),
    ("area->lock", "ksm_lock"),
    ("mm->mmap_lock", "MMU notifier start"),
    ("mm->mmap_lock", "page-table lock"),
)

#: What lockdep calls them, as patterns. Of page-table locks there are two kinds, one for the tables of each of two
#: levels; it numbers them.
LOCKDEP_NAMES = {
    "ksm_run_lock": r"ksm_run_lock",
    "area->lock": r"&area->lock",
    "ksm_lock": r"ksm_lock",
    "mm->mmap_lock": r"&mm->mmap_lock",
    "MMU notifier start": r"ksm_mmu_notifier_invalidate_range_start",
    "page-table lock": r"ptlock_ptr\(\w+\)",
}


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
    """Return the SVG.

    Raises:
        LockOrderError: the comment is no order, or not one of the locks that the arrows are of.
    """
    order = locks()
    depths = {lock.name: depth for depth, lock in enumerate(order)}
    for outer, inner in ARROWS:
        if not {outer, inner} <= depths.keys() or depths[outer] >= depths[inner]:
            raise LockOrderError(
                f"{HEADER} has no {outer!r} before {inner!r}, which ARROWS has. Nothing was drawn"
            )
    names = ", ".join(lock.name for lock in order)
    arrows = "; ".join(f"{outer} before {inner}" for outer, inner in ARROWS)
    sheet = Canvas(
        NAME,
        740,
        110 + _STEP * len(order) + 48,
        "The locking order of the driver",
        f"Outermost first: {names}. Whoever holds one waits only for those after it. "
        f"Taken within each other: {arrows}.",
    )
    sheet.text(24, 40, "Locking order", "head")
    sheet.text(24, 62, "whoever holds one waits only for those further down", "dim small")
    last: dict[str, float] = {}
    for depth, lock in enumerate(order):
        x, y = 24 + depth * 36, 84 + depth * _STEP
        css = "two" if lock.name == "ksm_lock" else "one"
        sheet.box(x, y, 200, _HEIGHT, css)
        sheet.text(x + 100, y + 27, lock.name, "middle code strong")
        if lock.note:
            sheet.text(x + 212, y + 27, lock.note, "small")
        for outer in (outer for outer, inner in ARROWS if inner == lock.name):
            # Down along the left of all that stands between.
            trunk, top = 24 + depths[outer] * 36 + 18, 84 + depths[outer] * _STEP + _HEIGHT
            sheet.arrow(
                (trunk, last.get(outer, top)), (trunk, y + _HEIGHT / 2), (x, y + _HEIGHT / 2)
            )
            last[outer] = y + _HEIGHT / 2
    sheet.lines(
        24,
        110 + _STEP * len(order),
        "An arrow: the upper one is held while the lower one is waited for. A test of the driver asks lockdep,\n"
        "on a debug kernel, whether it has seen each of them, and none the other way round.",
        "dim small",
        20,
    )
    return sheet.svg()
