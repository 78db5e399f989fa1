"""Plots as lists of shapes, which templates/plot.html.j2 converts to SVG.

Sizes are in SVG user units. Colours are CSS classes, which the page defines for light and dark colour schemes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """One SVG element.

    Attributes:
        kind: "rect", "line", "polyline" or "text".
        css: Its CSS classes.
        at: The x, y, width and height of a rectangle, the coordinates of both ends of a line, or the x and y of a text.
        text: The text, or the tooltip of another shape.
        points: The points of a polyline.
    """

    kind: str
    css: str
    at: tuple[float, ...] = ()
    text: str = ""
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Plot:
    """One drawing.

    Attributes:
        title: Its title.
        width: Its width.
        height: Its height.
        shapes: The shapes, in the order in which they are drawn.
    """

    title: str
    width: float
    height: float
    shapes: tuple[Shape, ...]
