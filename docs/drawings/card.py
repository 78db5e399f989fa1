"""Draw the picture that other sites show beside a link to this one: ``python -m drawings.card docs/_static/card.png``.

They take no SVG, so chromium turns it into a PNG file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ksmlab.lessons.excerpt import CHECKOUT
from ksmlab.pictures import layout
from ksmlab.pictures.model import Picture
from ksmlab.pictures.render import environment, style
from ksmlab.site import schemes

WIDTH, HEIGHT = 1200, 630
PICTURE = CHECKOUT / "tests/unit/data/picture.json"


def svg() -> str:
    """Return the picture as SVG: the name of the project, and pages before and after a merge."""
    picture = Picture.from_data(json.loads(PICTURE.read_text()))
    template = environment(Path(__file__).parent).get_template("card.svg.j2")
    return template.render(
        panels=layout.panels(picture)[:2],
        side=layout.SIDE,
        style=schemes.resolve(style(), "light"),
    )


def draw(path: Path) -> None:
    """Write the PNG file.

    Raises:
        OSError: chromium is not installed.
        subprocess.CalledProcessError: It has failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "card.svg"
        source.write_text(svg())
        # Its sandbox refuses to run as root, and the only page is our own.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        subprocess.run(
            ["chromium", "--headless=new", *sandbox, "--disable-gpu", "--hide-scrollbars",
             f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={path.resolve()}", source.as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
