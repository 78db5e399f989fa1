"""Expand HTML comments in pages for the site. Other viewers of Markdown do not show them.

``<!-- toctree`` lists the pages below an index page, for the navigation; ``<!-- eval-rst`` has directives that document
Python sources; both end with a line ``-->``. ``<!-- kernel-doc FILE -->`` is the place for the kernel-doc of a file.
``<!-- class NAME -->`` gives the next block a class, for which docs/_static has a script or a style. The session of a
``<!-- run -->`` block gets the class `recorded`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ksmlab.site import tables

if TYPE_CHECKING:
    from sphinx.application import Sphinx

TOCTREE = re.compile(r"^<!-- toctree\n(?P<pages>.*?)^-->$", re.MULTILINE | re.DOTALL)
RST = re.compile(r"^<!-- eval-rst\n(?P<rst>.*?)^-->$", re.MULTILINE | re.DOTALL)
KERNEL_DOC = re.compile(r"^<!-- kernel-doc (?P<file>\S+) -->$", re.MULTILINE)
CLASS = re.compile(r"^<!-- class (?P<name>[a-z-]+) -->$", re.MULTILINE)
RUN = re.compile(r"^(?P<marker><!-- run\b(?:(?!-->)[\s\S])*-->\n)(?=```)", re.MULTILINE)


def expand(text: str) -> str:
    """Return a page in which these comments are expanded."""
    text = TOCTREE.sub(r"```{toctree}\n:hidden:\n:glob:\n\n\g<pages>```", text)
    text = RST.sub(r"```{eval-rst}\n\g<rst>```", text)
    text = CLASS.sub(r"{.\g<name>}", text)
    text = RUN.sub(r"\g<marker>\n{.recorded}\n", text)
    return KERNEL_DOC.sub(lambda found: tables.render("kernel-doc", found["file"]), text)


def read(_app: Sphinx, _page: str, content: list[str]) -> None:
    """Expand the comments of one page. Sphinx calls this function with the text."""
    content[0] = expand(content[0])
