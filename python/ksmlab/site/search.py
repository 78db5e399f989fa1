"""Write the texts of all pages into a script, so that the search shows excerpts without a web server.

With a server, the search fetches each page that it found. From plain files a browser does not let it.
"""

from __future__ import annotations

import json
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: What docs/search.js looks for.
KEPT = {"article", "section", "p", "li", "dd", "pre"}
SKIPPED = {"script", "style", "svg"}
FILE = "search-texts.js"


class _Reducer(HTMLParser):
    """Keeps the text of the main element, its paragraphs, and the ids of its sections."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.inside = False
        self.skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.inside |= found.get("role") == "main"
        self.skipped += tag in SKIPPED
        if self.inside and tag in KEPT:
            names = [name for name in ("role", "id") if found.get(name)]
            kept = "".join(f' {name}="{escape(found[name] or "")}"' for name in names)
            self.parts.append(f"<{tag}{kept}>")

    def handle_endtag(self, tag: str) -> None:
        self.skipped -= tag in SKIPPED
        if self.inside and tag in KEPT:
            self.parts.append(f"</{tag}>")
        self.inside &= tag != "article"

    def handle_data(self, data: str) -> None:
        # The sign of a link to a heading.
        if self.inside and not self.skipped and data != "¶":
            self.parts.append(escape(re.sub(r"\s+", " ", data), quote=False))


def reduce(html: str) -> str:
    """Return the main element of a page with the tags that the search needs, and no others."""
    reducer = _Reducer()
    reducer.feed(html)
    return "".join(reducer.parts)


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the script when a site has been built; Sphinx calls it."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    texts = {
        name: reduce(page.read_text())
        for name in sorted(app.env.all_docs)
        if (page := out / f"{name}.html").is_file()
    }
    (out / "_static" / FILE).write_text(f"window.searchTexts = {json.dumps(texts)};\n")
