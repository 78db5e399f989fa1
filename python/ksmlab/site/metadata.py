"""Describe each page for search engines, and for other sites that show a link to it."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

CARD = "_static/card.png"
LONGEST = 160
#: The first paragraph of a lesson is about its output.
SKIPPED = re.compile(r"About \d+ minutes\.|All lessons")


def description(page: nodes.document) -> str:
    """Return the first paragraph of a page, or as many of its words as fit; an empty string if it has none."""
    for paragraph in page.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if isinstance(paragraph.parent, nodes.section) and not SKIPPED.match(text):
            return text if len(text) <= LONGEST else f"{text[: LONGEST - 2].rsplit(' ', 1)[0]} …"
    return ""


def add(
    app: Sphinx, pagename: str, _template: str, context: dict[str, Any], page: nodes.document | None
) -> None:
    """Add the elements to the head of a page; Sphinx calls it.

    With `html_baseurl`, the addresses are absolute, as other sites need them.
    """
    if page is None or app.builder.format != "html":
        return
    base = app.config.html_baseurl
    values = {
        "og:type": "article",
        "og:site_name": app.config.project,
        "og:title": re.sub("<.*?>", "", context["title"]),
        "og:image": base + CARD if base else context["pathto"](CARD, resource=True),
        "og:image:alt": "Squares for memory pages, before and after a merge",
    }
    if base:
        values["og:url"] = base + app.builder.get_target_uri(pagename)
    if text := description(page):
        values["og:description"] = text
        context["metatags"] += f'<meta name="description" content="{escape(text)}" />\n'
    context["metatags"] += '<meta name="twitter:card" content="summary_large_image" />\n'
    for name, value in values.items():
        context["metatags"] += f'<meta property="{name}" content="{escape(value)}" />\n'
