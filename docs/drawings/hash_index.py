"""The index by hash: two tables of chains, and an entry whose page was written since it was added."""

from __future__ import annotations

import re
from pathlib import Path

from drawings.canvas import Canvas

NAME = "hash-index"
SOURCE = Path(__file__).resolve().parents[2] / "kernel/index_hash.c"
_ROW = 36
#: What the drawing says of a search, as lines of hash_find(): another hash is passed over, and the first
#: entry that the callback does not turn down is returned.
SEARCH = (
    "if (hash_of(table, entry) != key->hash)",
    "continue;",
    "} else if (!order) {",
    "return entry;",
)


def check_search(source: Path = SOURCE) -> None:
    """Check that a search of the driver still does what the drawing says.

    Raises:
        ValueError: the lines of hash_find() are others, so the drawing may be wrong.
    """
    found = re.search(
        r"^static struct ksm_entry \*hash_find\(.*?^}", source.read_text(), re.MULTILINE | re.DOTALL
    )
    lines = [line.strip() for line in found[0].splitlines()] if found else []
    if [line for line in lines if line in SEARCH] != list(SEARCH):
        raise ValueError(
            f"{source}: hash_find() does not return the first entry with the same hash any more. "
            "Correct the words of docs/drawings/hash_index.py, then SEARCH. Nothing was drawn"
        )


def chain_limit(source: Path = SOURCE) -> int:
    """Read from the driver after how many entries of a chain a search gives up.

    Raises:
        ValueError: the source defines no CHAIN_LIMIT.
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
    check_search()
    sheet = Canvas(
        NAME,
        756,
        444,
        "The hash index",
        "Two tables of chains, by the lowest bits of the hash. The stable one holds kernel pages. The unstable one "
        "holds pages that wait; one of them was written since it was added, so it is in the chain of a hash that its "
        "page no longer has. A search returns the first entry with the same hash, and compares no pages.",
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
        "A search walks one chain and returns the first entry with the same whole hash. It compares no pages;\n"
        "the merge does. The page of the red entry was written since the entry was added. A search for its old\n"
        "content still returns the entry; the merge finds that the page has changed, fails, and the entry leaves.\n"
        f"A search gives up after {chain_limit()} entries of a chain, so a collision costs merges, never time.",
        "dim small",
        21,
    )
    return sheet.svg()
