"""Draw a picture as an SVG file that adapts to light and dark colour schemes and has a tooltip for each square."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from ksmlab.pictures import layout

if TYPE_CHECKING:
    from ksmlab.pictures.model import Picture

TEMPLATES = Path(__file__).with_name("templates")


def environment(*more: Path) -> jinja2.Environment:
    """Return the Jinja environment for the templates of this package.

    Args:
        more: Directories with more templates, which may use those of this package.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([*more, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def svg(picture: Picture) -> str:
    """Return a picture as SVG: its moments, one below the other so that it fits a phone, and a legend."""
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
    """Return the style sheet of the squares."""
    return (TEMPLATES / "arena.css").read_text()
