"""A sheet to draw on: boxes, arrows and words, which become one SVG file, legible by day and by night.

Sizes are in SVG user units, y goes down. Colours are names of classes of the style sheet, drawing.css.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Self

STYLE = Path(__file__).with_name("drawing.css")
#: Of every drawing: that of a phone, so that the words can be read there.
WIDTH = 390
_STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)

_TIP = (
    'viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
    '<path class="tip" d="M0 0 10 5 0 10z"/></marker>'
)


class Canvas:
    """A sheet of a fixed size."""

    def __init__(self, height: float, title: str, words: str) -> None:
        """Begin an empty sheet.

        Args:
            height: The height of the sheet.
            title: The title of the drawing.
            words: The alternative text.
        """
        self.title, self.words = title, words
        self.height = height
        self._parts: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, css: str = "box", radius: float = 5
    ) -> Self:
        """Draw a rectangle."""
        self._parts.append(
            f'<rect class="{css}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"/>'
        )
        return self

    def text(self, x: float, y: float, words: str, css: str = "") -> Self:
        """Write words; ``y`` is their base line."""
        self._parts.append(f'<text class="{css}" x="{x:g}" y="{y:g}">{escape(words)}</text>')
        return self

    def lines(self, x: float, y: float, words: str, css: str = "", step: float = 18) -> Self:
        """Write several lines, the first with its base line at ``y``."""
        for number, line in enumerate(words.splitlines()):
            self.text(x, y + number * step, line, css)
        return self

    def labelled(
        self, x: float, y: float, width: float, height: float, words: str, css: str = "box"
    ) -> Self:
        """Draw a rectangle with lines of words in its middle."""
        self.box(x, y, width, height, css)
        count = words.count("\n") + 1
        first = y + height / 2 + 5 - (count - 1) * 9
        return self.lines(x + width / 2, first, words, "middle")

    def line(self, *points: tuple[float, float], css: str = "") -> Self:
        """Draw a line through points."""
        places = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(f'<polyline class="line {css}" points="{places}"/>')
        return self

    def arrow(self, *points: tuple[float, float], css: str = "") -> Self:
        """Draw a line with a tip at its last point."""
        places = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(
            f'<polyline class="line {css}" points="{places}" marker-end="url(#tip)"/>'
        )
        return self

    def svg(self) -> str:
        """Return the drawing as an SVG file."""
        body = "\n".join(self._parts)
        size = f'viewBox="0 0 {WIDTH} {self.height:g}" width="{WIDTH}" height="{self.height:g}"'
        return styled(f"""<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title words">
<title id="title">{escape(self.title)}</title>
<desc id="words">{escape(self.words)}</desc>
<style></style>
<defs><marker id="tip" {_TIP}</defs>
<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{self.height - 1:g}" rx="8"/>
{body}
</svg>
""")


def styled(svg: str) -> str:
    """Return a drawing with the style sheet of all drawings."""
    style = escape(STYLE.read_text(), quote=False)
    return _STYLE.sub(lambda _: f"<style>\n{style}</style>", svg, count=1)
