"""The index by hash: two tables of chains, and an entry that lies."""

from __future__ import annotations

import re
from pathlib import Path

from drawings.canvas import Canvas

NAME = "hash-index"
SOURCE = Path(__file__).resolve().parents[2] / "kernel/index_hash.c"
_ROW = 36


def chain_limit(source: Path = SOURCE) -> int:
    """Read from the driver how many entries of a chain a search looks at.

    Raises:
        ValueError: it is not there.
    """
    found = re.search(r"^#define CHAIN_LIMIT\s+(\d+)$", source.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{source} defines no CHAIN_LIMIT. Nothing was drawn")
    return int(found[1])


def _table(sheet: Canvas, x: float, chains: dict[int, list[tuple[str, str]]]) -> None:
    for row in range(6):
        y = 100 + row * _ROW
        sheet.box(x, y, 62, _ROW, "box", 0)
        sheet.text(x + 31, y + 23, f"…{row:03b}", "code middle")
        left = x + 62.0
        for words, css in chains.get(row, []):
            sheet.arrow((left, y + _ROW / 2), (left + 24, y + _ROW / 2))
            sheet.labelled(left + 24, y + 4, 116, _ROW - 8, words, css)
            left += 140


def draw() -> str:
    """Return the SVG."""
    sheet = Canvas(
        NAME,
        756,
        444,
        "The hash index",
        "Two tables of chains, by the lowest bits of the hash. The stable one holds kernel pages. The unstable one "
        "holds pages that wait; one of them was written since it was added, so it stands under a hash that its page "
        "no longer has.",
    )
    sheet.text(20, 40, "stable table: kernel pages", "head")
    sheet.lines(20, 64, "a hash with a seed of this load says which chain", "dim small")
    _table(
        sheet,
        20,
        {
            0: [("0x5e…10", "two")],
            2: [("0x91…7a", "two"), ("0x0c…42", "two")],
            5: [("0xd4…0d", "two")],
        },
    )
    sheet.text(396, 40, "unstable table: pages that wait", "head")
    sheet.lines(396, 64, "nothing is thrown away at the end of a pass", "dim small")
    _table(
        sheet,
        396,
        {
            1: [("0x77…21", "three")],
            3: [("0x3a…4b", "bad"), ("0xe8…93", "three")],
            4: [("0x12…0c", "three")],
        },
    )
    sheet.line((380, 24), (380, 330), css="dashed")
    sheet.lines(
        20,
        356,
        "Two pages are compared only where the whole hash is the same: about one comparison for each page\n"
        "that has an equal. The red entry lies: its page was written since. A search for the old content\n"
        "learns that by comparing, and goes on.\n"
        f"A chain is followed for {chain_limit()} entries at most, so a collision costs merges, never time.",
        "dim small",
        21,
    )
    return sheet.svg()
