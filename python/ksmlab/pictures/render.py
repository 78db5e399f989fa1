"""A picture as SVG: one file, legible by day and by night, with a title for every square."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from ksmlab.pictures import layout

if TYPE_CHECKING:
    from ksmlab.pictures.model import Picture

TEMPLATES = Path(__file__).with_name("templates")


def environment(*more: Path) -> jinja2.Environment:
    """Return what renders our templates.

    Args:
        more: directories with templates that use those of this package.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([*more, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def svg(picture: Picture) -> str:
    """Draw a picture: its moments one below the other, so that it fits a phone, and a legend."""
    return (
        environment()
        .get_template("picture.svg.j2")
        .render(
            picture=picture,
            panels=layout.panels(picture),
            side=layout.SIDE,
            colours=layout.colour_words(picture),
            style=style(),
        )
    )


def style() -> str:
    """Return the style sheet of the squares, for a page that has pictures in it."""
    return (TEMPLATES / "arena.css").read_text()
