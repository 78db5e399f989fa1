"""``{drawing} page-tables``: a drawing on a page of the documentation, drawn when the page is made.

It is part of the page, not a file beside it: so it follows the switch between day and night that the page has.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from drawings import DRAWINGS
from drawings.canvas import STYLE
from drawings.lock_order import LockOrderError

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata


class DrawingDirective(SphinxDirective):
    """A drawing, by its name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        (name,) = self.arguments
        if name not in DRAWINGS:
            raise self.error(f"there is no drawing {name!r}; there are: {', '.join(DRAWINGS)}")
        # What is read for it is near to it, or in kernel/.
        for path in (*Path(__file__).parent.glob("*.py"), *kernel_sources()):
            self.env.note_dependency(str(path))
        try:
            svg = DRAWINGS[name]()
        except (LockOrderError, ValueError) as error:
            raise self.error(str(error)) from None
        # It scrolls where it does not fit; so it has to be reached by the keyboard, too.
        html = f'<div class="drawing-sheet" tabindex="0">\n{svg}</div>'
        return [nodes.raw("", html, format="html")]


def kernel_sources() -> list[Path]:
    """Give the files of the driver that drawings are drawn from."""
    kernel = Path(__file__).resolve().parents[2] / "kernel"
    return [kernel / "ksm.h", kernel / "index_hash.c"]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directive, and the style sheet that the drawings share; Sphinx calls it."""
    app.add_directive("drawing", DrawingDirective)
    app.connect("builder-inited", _add_style)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}


def _add_style(app: Sphinx) -> None:
    # The sheet alone, of a directory of which the rest is nobody's business.
    made = Path(app.doctreedir).parent / "drawings"
    made.mkdir(parents=True, exist_ok=True)
    (made / STYLE.name).write_text(STYLE.read_text())
    app.config.html_static_path.append(str(made))
    app.add_css_file(STYLE.name)
