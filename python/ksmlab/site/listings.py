"""Show each source file that pages link to as a page of the site, in which each line has an anchor.

A link whose text ends with a line number, such as ``kernel/pte.c:92``, leads to this line. Without this module, Sphinx
makes each such link a download, and drops the line.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.transforms.post_transforms import SphinxPostTransform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

LINE = re.compile(r":(\d+)$")
#: The files that are shown, each with the name of its lexer. Links to other files are downloads.
LEXERS = {".c": "c", ".h": "c", ".py": "python", ".sh": "sh", ".toml": "toml"}


def page_of(source: Path, checkout: Path) -> str | None:
    """Return the name of the page that shows a file; None if no page does.

    Args:
        source: The path of the file.
        checkout: The directory that contains the sources of the site.
    """
    path = Path(os.path.normpath(source))
    if path.suffix not in LEXERS or not path.is_relative_to(checkout):
        return None
    return f"source/{path.relative_to(checkout).as_posix()}"


class ListingLinks(SphinxPostTransform):
    """Replaces downloads of sources by links to the pages that show them."""

    # Run before the links are written, and after Sphinx has collected the files to download.
    default_priority = 450
    formats = ("html",)

    def run(self, **_: object) -> None:
        """Replace the links of one page."""
        srcdir = Path(self.env.srcdir)
        for node in list(self.document.findall(download_reference)):
            relative, _path = self.env.relfn2path(node["reftarget"], self.env.docname)
            page = page_of(srcdir / relative, srcdir.parent)
            if page is None:
                continue
            uri = self.app.builder.get_relative_uri(self.env.docname, page)
            line = LINE.search(node.astext())
            anchor = f"#L{line[1]}" if line else ""
            node.replace_self(
                nodes.reference("", "", *node.children, internal=True, refuri=uri + anchor)
            )


def collect(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the pages of the files that other pages link to. Sphinx calls this function after it has read all pages."""
    if not isinstance(app.builder, StandaloneHTMLBuilder):
        return
    srcdir = Path(app.srcdir)
    for relative in sorted(app.env.dlfiles):
        source = srcdir / relative
        if (page := page_of(source, srcdir.parent)) is None:
            continue
        title = page.removeprefix("source/")
        code = app.builder.highlighter.highlight_block(
            source.read_text(), LEXERS[source.suffix], linenos="inline", linespans="L"
        ).replace('id="L-', 'id="L')
        yield (
            page,
            {"title": title, "body": f'<h1>{title}</h1>\n<div class="listing">{code}</div>'},
            "page.html",
        )
