"""Compute the positions and the CSS classes of the squares of a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ksmlab.pictures.model import Moment, Picture, Square

#: The number of colours for shared frames in templates/arena.css. With more frames, the colours repeat.
COLOURS = 7
#: The side of a square, and the distance from one square to the next, in SVG user units.
SIDE = 22
PITCH = 25
#: The space for the title of a strip.
_TITLE = 18
_GAP = 10
_NARROW = 12
_WIDE_FROM = 160


@dataclass(frozen=True)
class Cell:
    """A square with its position.

    Attributes:
        x: The x coordinate of its left edge.
        y: The y coordinate of its upper edge.
        css: Its CSS classes: "own", "absent" or a colour, and optionally "kernel" and "written".
        square: The page that it represents.
    """

    x: float
    y: float
    css: str
    square: Square

    @property
    def label(self) -> str:
        """The letter in the square."""
        return self.square.label


@dataclass(frozen=True)
class Panel:
    """The layout of one moment. Its upper left corner is (0, 0).

    Attributes:
        title: The title of the moment.
        summary: The numbers of pages and frames, as text.
        words: The titles of its strips, each with its y coordinate.
        cells: Its squares.
        width: The total width.
        height: The total height.
    """

    title: str
    summary: str
    words: tuple[tuple[str, float], ...]
    cells: tuple[Cell, ...]
    width: float
    height: float


def columns_for(npages: int) -> int:
    """Return the number of squares in a row: 12, or, for many pages, a number that makes the picture nearly square."""
    return _NARROW if npages < _WIDE_FROM else 4 * math.ceil(math.sqrt(npages * 1.3) / 4)


def classes(square: Square, colours: Mapping[int, int], shared: frozenset[int]) -> str:
    """Return the CSS classes of one square.

    Args:
        square: The page.
        colours: The numbers of frames; see Picture.colours().
        shared: The frames that are shared at this moment. Other frames have no colour.
    """
    if not square.pfn:
        return "absent"
    found = [f"c{colours[square.pfn] % COLOURS}" if square.pfn in shared else "own"]
    if square.kernel:
        found.append("kernel")
    if square.written:
        found.append("written")
    return " ".join(found)


def colour_words(picture: Picture) -> str:
    """Return the text of a legend that explains how colours correspond to shared frames.

    If there are more shared frames than colours, two squares of one colour may have different frames.
    """
    frames = len(picture.colours())
    if frames <= COLOURS:
        return "one colour for each frame"
    return f"{COLOURS} colours, which repeat, for {frames} frames"


def panel(moment: Moment, colours: Mapping[int, int], columns: int) -> Panel:
    """Return the layout of one moment."""
    shared = moment.shared
    words, cells = [], []
    top = 0.0
    for strip in moment.strips:
        if strip.title:
            words.append((strip.title, top + _TITLE - 6))
            top += _TITLE
        for number, square in enumerate(strip.squares):
            row, column = divmod(number, columns)
            css = classes(square, colours, shared)
            cells.append(Cell(column * PITCH, top + row * PITCH, css, square))
        top += math.ceil(len(strip.squares) / columns) * PITCH + _GAP
    width = columns * PITCH - (PITCH - SIDE)
    height = top - _GAP - (PITCH - SIDE)
    return Panel(moment.title, moment.summary, tuple(words), tuple(cells), width, height)


def panels(picture: Picture) -> list[Panel]:
    """Return the layouts of all moments. A frame has the same colour in all of them."""
    colours = picture.colours()
    columns = columns_for(max(len(strip.squares) for strip in picture.moments[0].strips))
    return [panel(moment, colours, columns) for moment in picture.moments]
