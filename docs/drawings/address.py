"""An address, taken apart: an index into each of four tables, and an offset."""

from __future__ import annotations

from drawings.canvas import Canvas

NAME = "address"
#: The one that lesson 6 takes apart, too.
ADDRESS = 0x7F12_3456_789A
_TABLES = ("PGD", "PUD", "PMD", "PTE")
_BITS, _OFFSET_BITS = 9, 12
_WIDTH, _GAP, _LEFT = 104.0, 37.0, 20.0
_ROW, _TOP = 26.0, 214.0


def parts(address: int = ADDRESS) -> tuple[list[int], int]:
    """Give the indexes of an address, that of the uppermost table first, and its offset in the page."""
    mask = (1 << _BITS) - 1
    shifts = [_OFFSET_BITS + _BITS * level for level in reversed(range(len(_TABLES)))]
    return [address >> shift & mask for shift in shifts], address & ((1 << _OFFSET_BITS) - 1)


def _column(number: int) -> float:
    return _LEFT + number * (_WIDTH + _GAP)


def draw() -> str:
    """Return the SVG."""
    indexes, offset = parts()
    named = [f"{name} {index}" for name, index in zip(_TABLES, indexes, strict=True)]
    sheet = Canvas(
        NAME,
        _column(4) + _WIDTH + _LEFT,
        444,
        "An address and the four tables",
        f"The address {ADDRESS:#x} is four indexes of nine bits ({', '.join(named)}) and an offset of twelve bits, "
        f"{offset}. Each index chooses an entry of a table, and the entry says where the next table is; that of the "
        "last one says where the page is, and the offset which byte of it.",
    )
    sheet.text(_LEFT, 40, f"{ADDRESS:#x}: four indexes and an offset", "head")
    for number, index in enumerate([*indexes, offset]):
        bits = _BITS if number < len(_TABLES) else _OFFSET_BITS
        x, css = _column(number), "one" if number < len(_TABLES) else "three"
        sheet.text(x + _WIDTH / 2, 74, f"{bits} bits", "dim small middle")
        sheet.box(x, 82, _WIDTH, 52, css, 0)
        sheet.text(x + _WIDTH / 2, 104, f"{index:0{bits}b}", "code middle")
        sheet.text(x + _WIDTH / 2, 124, f"= {index}", "middle strong")
    for number, name in enumerate(_TABLES):
        x = _column(number)
        sheet.text(x, _TOP - 24, name, "strong")
        sheet.text(x, _TOP - 8, "512 entries", "dim small")
        for row in range(5):
            chosen = row == 2
            y = _TOP + row * _ROW
            sheet.box(x, y, _WIDTH, _ROW, "one" if chosen else "box", 0)
            words = str(indexes[number]) if chosen else "…"
            sheet.text(x + _WIDTH / 2, y + 18, words, "middle code" if chosen else "middle dim")
        # Down from the index, along the gap, to the entry; and from the entry to where the next table begins.
        sheet.arrow((x + 88, 134), (x + 88, _TOP + 2 * _ROW))
        middle = _TOP + 2.5 * _ROW
        turn = x + _WIDTH + _GAP / 2
        sheet.arrow(
            (x + _WIDTH, middle), (turn, middle), (turn, _TOP + 1), (x + _WIDTH + _GAP, _TOP + 1)
        )
    x = _column(4)
    sheet.text(x, _TOP - 24, "the page", "strong")
    sheet.text(x, _TOP - 8, "4096 bytes", "dim small")
    sheet.box(x, _TOP, _WIDTH, 5 * _ROW, "two", 0)
    sheet.box(x, _TOP + 2 * _ROW, _WIDTH, _ROW, "three", 0)
    sheet.text(x + _WIDTH / 2, _TOP + 2 * _ROW + 18, f"byte {offset}", "middle code")
    sheet.arrow((x + 88, 134), (x + 88, _TOP + 2 * _ROW))
    sheet.lines(
        _LEFT,
        _TOP + 5 * _ROW + 34,
        "An entry holds the number of a frame, and bits about it (present, writable, accessed, dirty).\n"
        "In the upper three that frame is the next table; in the last one it is the page.\n"
        "Merging a page changes one word: its entry in the PTE table.",
        "dim small",
        20,
    )
    return sheet.svg()
