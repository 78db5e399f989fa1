"""The states of a module, from the file to the kernel and back."""

from __future__ import annotations

from drawings.canvas import Canvas

NAME = "module-life"
_LEFT, _WIDE, _HIGH, _STEP, _TOP = 16.0, 230.0, 58.0, 98.0, 76.0
#: The lines of a box and its colour, and the words beside the arrow to the next box.
_BOXES = (
    ("hello.ko\na file; no code runs", "box", "insmod"),
    ("coming\nthe init function runs", "two", "it returns 0"),
    ("live\nthe kernel can call its code", "three", "rmmod, reference count 0"),
    ("going\nthe exit function runs", "two", "it returns"),
    ("gone\nthe kernel has freed its memory", "box", ""),
)


def draw() -> str:
    """Return the SVG."""
    sheet = Canvas(
        _TOP + _STEP * len(_BOXES) - 22,
        "The life of a module",
        "At first hello.ko is only a file, and none of its code runs. insmod loads it. While the init function runs, "
        "the state of the module is 'coming'. If the function returns 0, the state of the module becomes 'live', and "
        "the kernel can call its code. "
        "If the function returns an error, the kernel frees the module. rmmod unloads a module whose reference "
        "count is 0. While the exit function runs, the state of the module is 'going'. Then the kernel frees the "
        "memory of the module.",
    )
    sheet.text(_LEFT, 32, "The life of a module", "head")
    sheet.text(_LEFT, 52, "coming, live, going: states in /sys/module/hello/initstate", "dim small")
    for number, (words, css, after) in enumerate(_BOXES):
        top = _TOP + number * _STEP
        sheet.labelled(_LEFT, top, _WIDE, _HIGH, words, css)
        if after:
            middle = _LEFT + 40
            sheet.arrow((middle, top + _HIGH), (middle, top + _STEP))
            sheet.text(middle + 12, top + _HIGH + 25, after, "small")
    right, coming = _LEFT + _WIDE, _TOP + _STEP + _HIGH / 2
    gone = _TOP + (len(_BOXES) - 1) * _STEP + _HIGH / 2
    turn = right + 24
    sheet.arrow((right, coming), (turn, coming), (turn, gone), (right, gone), css="dashed")
    sheet.lines(
        turn + 10, (coming + gone) / 2 - 22, "or it returns\nan error, and\ninsmod fails", "small"
    )
    return sheet.svg()
