"""The index of 2009: a stable and an unstable tree, ordered by content."""

from __future__ import annotations

from drawings.canvas import Canvas

NAME = "trees"
_WIDTH, _HEIGHT = 54, 34


def _tree(sheet: Canvas, nodes: dict[str, tuple[float, float, str]], edges: str) -> None:
    for edge in edges.split():
        above, below = nodes[edge[0]], nodes[edge[1]]
        sheet.line((above[0], above[1] + _HEIGHT / 2), (below[0], below[1] - _HEIGHT / 2))
    for letter, (x, y, css) in nodes.items():
        sheet.labelled(x - _WIDTH / 2, y - _HEIGHT / 2, _WIDTH, _HEIGHT, letter, css)


def draw() -> str:
    """Return the SVG."""
    sheet = Canvas(
        NAME,
        740,
        440,
        "The stable and the unstable tree",
        "Two binary trees ordered by content. The stable tree holds kernel pages, which cannot change, so a search "
        "finds what is there. The unstable tree holds pages that can be written: F was written and now holds B, so a "
        "search for B turns left and misses it. It is thrown away after each pass.",
    )
    sheet.text(24, 40, "stable tree: kernel pages", "head")
    sheet.lines(
        24,
        64,
        "nobody can write them, so the order is right\nand stays from pass to pass",
        "dim small",
        17,
    )
    stable = {
        "G": (180.0, 130.0, "two"), "C": (90.0, 205.0, "two"), "M": (270.0, 205.0, "two"),
        "A": (52.0, 280.0, "two"), "E": (136.0, 280.0, "two"), "P": (310.0, 280.0, "two"),
    }  # fmt: skip
    _tree(sheet, stable, "GC GM CA CE MP")
    sheet.text(376, 40, "unstable tree: pages that wait", "head")
    sheet.lines(
        376,
        64,
        "their owners may write them; after each pass\nthe tree is thrown away and grown anew",
        "dim small",
        17,
    )
    unstable = {
        "K": (540.0, 130.0, "three"), "D": (450.0, 205.0, "three"), "R": (630.0, 205.0, "three"),
        "-": (414.0, 280.0, "none"), "F": (496.0, 280.0, "bad"), "T": (676.0, 280.0, "three"),
    }  # fmt: skip
    _tree(sheet, unstable, "KD KR D- DF RT")
    sheet.arrow((496, 326), (496, 301))
    sheet.text(550, 344, "was F when it was added; was written, and is B now", "small middle")
    sheet.text(362, 262, "B?", "strong small")
    sheet.arrow((379, 260), (390, 268))
    sheet.line((350, 24), (350, 350), css="dashed")
    sheet.lines(
        24,
        378,
        "The scanner searches the stable tree first, then the unstable one: "
        "one comparison of two pages for each level.\n"
        "The search for B turns left at D and misses the page that holds B now.\n"
        "That costs a merge until the next pass, never more.",
        "dim small",
        20,
    )
    return sheet.svg()
