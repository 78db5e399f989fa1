"""The index by hash: two tables of chains, and an entry whose page has changed since it was added."""

from __future__ import annotations

import re
from pathlib import Path

from drawings.canvas import Canvas

NAME = "hash-index"
SOURCE = Path(__file__).resolve().parents[2] / "kernel/index_hash.c"
_ROW = 28
#: The lines of hash_find() that the drawing describes: a search skips entries with another hash, and returns
#: the first entry that the callback accepts.
SEARCH = (
    "if (hash_of(table, entry) != key->hash)",
    "continue;",
    "} else if (!order) {",
    "return entry;",
)


def check_search(source: Path = SOURCE) -> None:
    """Check that a search of the driver still does what the drawing says.

    Raises:
        ValueError: the lines of hash_find() have changed, so the drawing may be wrong.
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


def _table(sheet: Canvas, top: float, chains: dict[int, list[tuple[str, str]]]) -> None:
    for row in range(6):
        y = top + row * _ROW
        sheet.box(16, y, 56, _ROW, "box", 0)
        sheet.text(44, y + 19, f"…{row:03b}", "code middle")
        left = 72.0
        for words, css in chains.get(row, []):
            sheet.arrow((left, y + _ROW / 2), (left + 24, y + _ROW / 2))
            sheet.box(left + 24, y + 2, 100, _ROW - 4, css)
            sheet.text(left + 74, y + 19, words, "code middle")
            left += 124


def draw() -> str:
    """Return the SVG."""
    check_search()
    sheet = Canvas(
        634,
        "The hash index",
        "Two tables. The lowest bits of the hash select a chain. The stable table contains kernel pages. The unstable "
        "table contains pages that have no match yet. One of these pages has changed since it was added, so it is in "
        "the chain of its old hash. A search returns the first entry with the same hash, and compares no pages.",
    )
    sheet.text(16, 32, "Stable table: kernel pages", "head")
    sheet.text(16, 52, "the lowest bits of the hash select the chain", "dim small")
    _table(
        sheet,
        62,
        {
            0: [("0x5e…10", "two")],
            2: [("0x91…7a", "two"), ("0x0c…42", "two")],
            5: [("0xd4…0d", "two")],
        },
    )
    sheet.line((16, 246), (374, 246), css="dashed")
    sheet.text(16, 274, "Unstable table: pages without a match", "head")
    sheet.text(16, 294, "entries stay when a pass ends", "dim small")
    _table(
        sheet,
        304,
        {
            1: [("0x77…21", "three")],
            3: [("0x3a…4b", "bad"), ("0xe8…93", "three")],
            4: [("0x12…0c", "three")],
        },
    )
    sheet.lines(
        16,
        496,
        "A search walks one chain and returns the first entry\n"
        "with the same hash. It compares no pages; the merge does.\n"
        "The page of the red entry has changed since it was added.\n"
        "A search for the old content still returns this entry. Then\n"
        "the driver removes the entry, and the merge fails.\n"
        f"A search gives up after {chain_limit()} entries of a chain. So in\n"
        "a long chain it can miss a match, but it never takes long.",
        "dim small",
        18,
    )
    return sheet.svg()
