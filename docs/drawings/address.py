"""An address, taken apart: an index into each of four tables, and an offset."""

from __future__ import annotations

from drawings.canvas import Canvas

NAME = "address"
#: The lesson "The page table" takes the same address apart.
ADDRESS = 0x7F12_3456_789A
_TABLES = ("PGD", "PUD", "PMD", "PTE")
_BITS, _OFFSET_BITS = 9, 12
_TOP, _PITCH = 66.0, 92.0
_INDEX, _TABLE, _ROW = 138.0, 112.0, 22.0
_LEFT, _RIGHT = 16.0, 246.0


def parts(address: int = ADDRESS) -> tuple[list[int], int]:
    """Give the indexes of an address, that of the uppermost table first, and its offset in the page."""
    mask = (1 << _BITS) - 1
    shifts = [_OFFSET_BITS + _BITS * level for level in reversed(range(len(_TABLES)))]
    return [address >> shift & mask for shift in shifts], address & ((1 << _OFFSET_BITS) - 1)


def draw() -> str:
    """Return the SVG."""
    indexes, offset = parts()
    named = [f"{name} {index}" for name, index in zip(_TABLES, indexes, strict=True)]
    sheet = Canvas(
        612,
        "An address and the four tables",
        f"The address {ADDRESS:#x} is four indexes of nine bits ({', '.join(named)}) and an offset of twelve bits, "
        f"{offset}. Each index chooses an entry of a table. The entry has the physical address of the next table. The "
        "entry of the last table has the physical address of the page, and the offset chooses a byte of the page.",
    )
    sheet.text(_LEFT, 32, f"The address {ADDRESS:#x}", "head")
    sheet.text(_LEFT, 52, "four indexes and an offset", "dim small")
    for number, value in enumerate([*indexes, offset]):
        _level(sheet, number, value)
    sheet.lines(
        _LEFT,
        _TOP + 5 * _PITCH + 14,
        "An entry has the number of a frame, and bits such as\n"
        "present, writable, accessed and dirty. In the first three\n"
        "tables, the frame contains the next table. In the last\n"
        "table, it contains the page. A merge changes this entry.",
        "dim small",
        18,
    )
    return sheet.svg()


def _level(sheet: Canvas, number: int, value: int) -> None:
    """Draw an index beside the table that it is for, or the offset beside the page."""
    top = _TOP + number * _PITCH
    last = number == len(_TABLES)
    bits, css = (_OFFSET_BITS, "three") if last else (_BITS, "one")
    name = "page" if last else _TABLES[number]
    sheet.text(_LEFT, top + 14, f"{bits} bits", "dim small")
    sheet.box(_LEFT, top + 20, _INDEX, 3 * _ROW - 18, css, 0)
    sheet.text(_LEFT + _INDEX / 2, top + 40, f"{value:0{bits}b}", "code middle")
    sheet.text(_LEFT + _INDEX / 2, top + 59, f"= {value}", "middle strong")
    sheet.text(
        _RIGHT,
        top + 14,
        f"{name}, {4096 if last else 512} {'bytes' if last else 'entries'}",
        "dim small",
    )
    for row in range(3):
        chosen = row == 1
        y = top + 20 + row * _ROW
        sheet.box(_RIGHT, y, _TABLE, _ROW, css if chosen else "two" if last else "box", 0)
        words = (f"byte {value}" if last else str(value)) if chosen else "…"
        sheet.text(_RIGHT + _TABLE / 2, y + 16, words, "middle code" if chosen else "middle dim")
    middle = top + 20 + 1.5 * _ROW
    turn = _RIGHT - 34
    sheet.arrow((_LEFT + _INDEX, top + 44), (turn, top + 44), (turn, middle), (_RIGHT, middle))
    if not last:
        # From the entry to where the next table begins.
        edge, below = _RIGHT + _TABLE, top + _PITCH + 20 + _ROW / 2
        sheet.arrow((edge, middle), (edge + 10, middle), (edge + 10, below), (edge, below))
