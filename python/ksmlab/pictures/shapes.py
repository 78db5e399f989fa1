"""Plots as plain shapes, which templates/plot.html.j2 writes down as SVG.

Sizes are in SVG user units. Colours are names of classes, so that the page decides them, for light and for dark.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """One SVG element.

    Attributes:
        kind: "rect", "line", "polyline" or "text".
        css: Its classes.
        at: x, y, width and height of a rectangle; both ends of a line; x and y of a text.
        text: The text, or what a pointer that rests on it is told.
        points: Of a polyline.
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
        title: What it shows.
        width: Its width.
        height: Its height.
        shapes: In the order in which they are drawn.
    """

    title: str
    width: float
    height: float
    shapes: tuple[Shape, ...]
