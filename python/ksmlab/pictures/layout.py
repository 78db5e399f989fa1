"""Where the squares of a picture stand, and which classes of the style sheet they have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ksmlab.pictures.model import Moment, Picture, Square

#: Colours for shared frames in templates/arena.css; with more frames the colours repeat.
COLOURS = 7
#: A square, and from one to the next, in SVG user units.
SIDE = 22
PITCH = 25
#: Above the squares of a strip that has a title.
_TITLE = 18
_GAP = 10
_NARROW = 12
_WIDE_FROM = 160


@dataclass(frozen=True)
class Cell:
    """A square in its place.

    Attributes:
        x: its left edge.
        y: its upper edge.
        css: its classes: "own", "absent" or a colour; and "kernel", "written".
        square: what it stands for.
    """

    x: float
    y: float
    css: str
    square: Square

    @property
    def label(self) -> str:
        """The letter in it."""
        return self.square.label


@dataclass(frozen=True)
class Panel:
    """One moment, laid out from (0, 0).

    Attributes:
        title: of the moment.
        summary: its numbers.
        words: text and place of the titles of its strips.
        cells: its squares.
        width: of all of it.
        height: of all of it.
    """

    title: str
    summary: str
    words: tuple[tuple[str, float], ...]
    cells: tuple[Cell, ...]
    width: float
    height: float


def columns_for(npages: int) -> int:
    """Return how many squares stand side by side: a dozen, or what makes many pages about as wide as high."""
    return _NARROW if npages < _WIDE_FROM else 4 * math.ceil(math.sqrt(npages * 1.3) / 4)


def classes(square: Square, colours: Mapping[int, int], shared: frozenset[int]) -> str:
    """Return the classes of one square.

    Args:
        square: the page.
        colours: numbers of frames; see Picture.colours().
        shared: the frames that are shared at this moment; another has no colour.
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
    """Say how shared frames and colours correspond, for a legend.

    Two squares of one colour are in one frame only if there are no more shared frames than colours.
    """
    frames = len(picture.colours())
    if frames <= COLOURS:
        return "one colour for each frame"
    return f"{COLOURS} colours, which repeat, for {frames} frames"


def panel(moment: Moment, colours: Mapping[int, int], columns: int) -> Panel:
    """Lay one moment out."""
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
    """Lay all moments out, with the same colours."""
    colours = picture.colours()
    columns = columns_for(max(len(strip.squares) for strip in picture.moments[0].strips))
    return [panel(moment, colours, columns) for moment in picture.moments]
