"""The number of an ioctl, taken apart: direction, size of the structure, magic number, and request."""

from __future__ import annotations

from dataclasses import dataclass

from drawings.canvas import WIDTH, Canvas
from ksmlab.abi import KSM_REGISTER_MEMORY_REGION as NUMBER

NAME = "ioctl-number"
_BITS = 32
_LEFT = 16.0
_CELL = (WIDTH - 2 * _LEFT) / _BITS
_HEX, _ROW = 74.0, 112.0
_FIRST, _PITCH = 176.0, 64.0


@dataclass(frozen=True)
class Field:
    """Some bits of the number.

    Attributes:
        high: its highest bit.
        low: its lowest bit.
        name: the name of the field.
        meaning: a sentence about the value.
        css: its colour.
    """

    high: int
    low: int
    name: str
    meaning: str
    css: str

    @property
    def value(self) -> int:
        """The bits of NUMBER that are in the field, as a number."""
        return NUMBER >> self.low & (1 << self.high - self.low + 1) - 1

    @property
    def bits(self) -> str:
        """The same bits as zeros and ones."""
        return f"{self.value:0{self.high - self.low + 1}b}"


FIELDS = (
    Field(31, 30, "direction", "the kernel reads a structure", "two"),
    Field(29, 16, "size", "the structure has 24 bytes", "one"),
    Field(15, 8, "magic number", "the request is for this driver", "three"),
    Field(7, 0, "request", "which this lesson calls REGISTER", "box"),
)


def _shown(field: Field) -> str:
    """Write a value as the lesson does: the two numbers that identify the request are hexadecimal."""
    return (
        f"{field.value:#04X}".replace("X", "x") if field.low < FIELDS[1].low else f"{field.value}"
    )


def draw() -> str:
    """Return the SVG."""
    parts = " ".join(
        f"Bits {field.high}-{field.low} are the {field.name}: {_shown(field)}, {field.meaning}."
        for field in FIELDS
    )
    sheet = Canvas(
        _FIRST + len(FIELDS) * _PITCH + 70,
        "The number of an ioctl",
        f"The number {NUMBER:#010x} consists of four fields. {parts}",
    )
    sheet.text(_LEFT, 32, f"The number {NUMBER:#010x}", "head")
    sheet.text(_LEFT, 52, "a hexadecimal digit stands for four of its 32 bits", "dim small")
    for place, digit in enumerate(f"{NUMBER:08x}"):
        left = _LEFT + 4 * place * _CELL
        sheet.text(left + 2 * _CELL, _HEX + 12, digit, "code strong middle")
        sheet.line((left + 2, _ROW - 12), (left + 2, _ROW - 18), (left + 4 * _CELL - 2, _ROW - 18))
        sheet.line((left + 4 * _CELL - 2, _ROW - 18), (left + 4 * _CELL - 2, _ROW - 12))
    for number, field in enumerate(FIELDS):
        _field(sheet, number, field)
    sheet.lines(
        _LEFT,
        _FIRST + len(FIELDS) * _PITCH + 16,
        "The size is part of the number. So a program that was\n"
        "compiled with a structure of another size uses another\n"
        "number, so the driver detects the difference.",
        "dim small",
        18,
    )
    return sheet.svg()


def _field(sheet: Canvas, number: int, field: Field) -> None:
    """Draw the bits of a field in the row, and a box with its meaning below."""
    left = _LEFT + (_BITS - 1 - field.high) * _CELL
    width = (field.high - field.low + 1) * _CELL
    sheet.box(left, _ROW, width, 26, field.css, 0)
    for place, bit in enumerate(field.bits):
        sheet.text(left + (place + 0.5) * _CELL, _ROW + 17, bit, "code middle")
    top = _FIRST + number * _PITCH
    sheet.box(_LEFT, top, 104, 50, field.css)
    sheet.text(_LEFT + 52, top + 21, _shown(field), "code strong middle")
    sheet.text(_LEFT + 52, top + 40, f"bits {field.high}-{field.low}", "small middle")
    sheet.text(_LEFT + 118, top + 21, field.name, "strong")
    sheet.text(_LEFT + 118, top + 40, field.meaning, "small")
