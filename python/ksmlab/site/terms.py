"""Give each link to the glossary the first sentence of its entry, which docs/_static/terms.js shows as a tooltip."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

GLOSSARY = "glossary"
ENTRY = re.compile(r"^## (?P<term>.+)\n\n(?P<text>(?:.+\n?)+)", re.MULTILINE)
SENTENCE = re.compile(r".+?[.?!](?=\s|$)")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def anchor(term: str) -> str:
    """Return the anchor of an entry, as Markdown viewers and MyST derive it from the heading."""
    return re.sub(r"[^\w -]", "", term.lower()).replace(" ", "-")


def entries(text: str) -> dict[str, str]:
    """Return the first paragraph of each entry of a glossary, in plain text.

    Args:
        text: The glossary, in Markdown. Each entry has a heading of level two.
    """
    return {
        found["term"]: " ".join(re.sub("[`*]", "", LINK.sub(r"\1", found["text"])).split())
        for found in ENTRY.finditer(text)
    }


def definitions(text: str) -> dict[str, str]:
    """Return the first sentence of each entry of a glossary, by its anchor.

    Raises:
        ValueError: An entry does not begin with a sentence.
    """
    found = {}
    for term, paragraph in entries(text).items():
        sentence = SENTENCE.match(paragraph)
        if not sentence:
            raise ValueError(f"glossary: the entry {term!r} does not begin with a sentence")
        found[anchor(term)] = sentence[0]
    return found


class TermLinks(SphinxPostTransform):
    """Mark the links to entries of the glossary, and give them the definitions as titles."""

    default_priority = 520
    formats = ("html",)

    def run(self, **_: object) -> None:
        """Mark the links of one page."""
        if GLOSSARY not in self.env.all_docs:
            return
        glossary = self.app.builder.get_relative_uri(self.env.docname, GLOSSARY)
        known = definitions(Path(self.env.doc2path(GLOSSARY)).read_text())
        for link in self.document.findall(nodes.reference):
            page, _, fragment = link.get("refuri", "").partition("#")
            if page == glossary and fragment in known:
                link["reftitle"] = known[fragment]
                link["classes"].append("term")
