"""The shadow memory of KASAN, for one object before and after it is freed."""

from __future__ import annotations

from drawings.canvas import Canvas

NAME = "shadow-memory"
_GRANULE = 8
#: The shadow bytes of mm/kasan/kasan.h.
_REDZONE, _FREED, _FREED_WITH_STACK = 0xFC, 0xFB, 0xFA
_SIZE = 36
_LEFT, _CELL, _HEIGHT = 16.0, 51.0, 30.0


def shadow(*, freed: bool) -> list[int]:
    """Return the shadow bytes of an object of 36 bytes, and of a redzone on each side."""
    whole, rest = divmod(_SIZE, _GRANULE)
    inside = [_FREED_WITH_STACK] + [_FREED] * whole if freed else [0] * whole + [rest]
    return [_REDZONE, *inside, _REDZONE]


def draw() -> str:
    """Return the SVG."""
    rows = {"allocated": shadow(freed=False), "freed": shadow(freed=True)}
    told = ", ".join(
        f"{name} {' '.join(f'{byte:02x}' for byte in shadow_bytes)}"
        for name, shadow_bytes in rows.items()
    )
    sheet = Canvas(
        330,
        "The shadow memory of KASAN",
        f"An object of {_SIZE} bytes with a redzone on each side. One shadow byte describes {_GRANULE} bytes: {told}. "
        "A shadow byte of 00 permits all eight bytes, 04 the first four, and fa to fc none. A read of the second eight "
        "bytes of the freed object finds fb, and KASAN reports a use-after-free.",
    )
    sheet.text(_LEFT, 32, "Shadow memory", "head")
    sheet.text(_LEFT, 52, f"an object of {_SIZE} bytes, in pieces of {_GRANULE} bytes", "dim small")
    sheet.text(_LEFT, 84, "memory", "small")
    for number in range(7):
        edge = number in (0, 6)
        x = _LEFT + number * _CELL
        sheet.box(x, 92, _CELL, _HEIGHT, "box" if edge else "one", 0)
        words = "redzone" if edge else f"+{(number - 1) * _GRANULE}"
        sheet.text(x + _CELL / 2, 112, words, "middle small" if edge else "middle code")
    for (name, shadow_bytes), top in zip(rows.items(), (156, 222), strict=True):
        sheet.text(_LEFT, top - 8, f"shadow, {name}", "small")
        for number, byte in enumerate(shadow_bytes):
            x = _LEFT + number * _CELL
            css = "three" if byte < _GRANULE else "bad" if byte != _REDZONE else "box"
            sheet.box(x, top, _CELL, _HEIGHT, css, 0)
            sheet.text(x + _CELL / 2, top + 20, f"{byte:02x}", "middle code")
    x = _LEFT + 2.5 * _CELL
    sheet.arrow((x, 280), (x, 254))
    sheet.lines(
        _LEFT,
        296,
        "Before each access, the code that the compiler has added\n"
        "reads the shadow byte: fb here, so this is a use-after-free.",
        "dim small",
        18,
    )
    return sheet.svg()
