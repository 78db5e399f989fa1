"""Give each link to the glossary the first sentence of its entry, which docs/_static/terms.js shows as a tooltip.

In lessons and explanations, the first use of a term becomes such a link, unless an earlier link leads to its entry.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

if TYPE_CHECKING:
    from collections.abc import Iterator

GLOSSARY = "glossary"
ENTRY = re.compile(r"^## (?P<term>.+)\n\n(?P<text>(?:.+\n?)+)", re.MULTILINE)
SENTENCE = re.compile(r".+?[.?!](?=\s|$)")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
#: The pages on which the first use of a term becomes a link.
PAGES = re.compile(r"lessons/\d|explanation/")
#: Names of entries that pages use in another sense, too. Only a link of the author tells which sense is meant.
AMBIGUOUS = frozenset(
    [
        "batch", "break", "chain", "collision", "idle", "index", "item", "mapping", "pass", "pin", "range",
        "reference count", "sample", "skipped page", "split",
    ]
)  # fmt: skip
#: Text in these nodes is no use of a term, or cannot contain a link.
OPAQUE = (
    nodes.FixedTextElement,
    nodes.Invisible,
    nodes.literal,
    nodes.raw,
    nodes.reference,
    nodes.title,
)


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


def forms(term: str) -> list[str]:
    """Return the words that stand for the term of an entry, in the singular and in the plural.

    The heading of an entry can have two names: ``a (B)`` or ``a, b``.
    """
    names = [name for name in re.split(r", | \(", term.rstrip(")")) if name not in AMBIGUOUS]
    return [form for name in names for form in (name, _other_number(name))]


def _other_number(name: str) -> str:
    if " " in name and name.endswith("s"):
        return name.removesuffix("s")
    return name + ("es" if re.search("(?:s|x|ch|sh)$", name) else "s")


@cache
def pattern(terms: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    """Return a pattern that matches each use of a term, and the id of the entry of each form.

    A form in lower case may begin a sentence. The ids belong to the forms in lower case, with single blanks.
    """
    ids = {form.lower(): nodes.make_id(anchor(term)) for term in terms for form in forms(term)}
    found = {form for term in terms for form in forms(term)}
    choices = "|".join(map(_choice, sorted(found, key=len, reverse=True)))
    return re.compile(rf"(?<![\w./-])(?:{choices})(?![\w-]|/|\(\))"), ids


def _choice(form: str) -> str:
    words = r"\s+".join(map(re.escape, form.split()))
    return f"(?i:{words[0]}){words[1:]}" if form == form.lower() else words


def join_texts(document: nodes.document) -> None:
    """Join texts that follow each other: MyST makes one text of each line, but two lines can share a term."""
    for parent in list(document.findall(nodes.TextElement)):
        children: list[nodes.Node] = []
        for child in parent.children:
            last = children[-1] if children else None
            if isinstance(child, nodes.Text) and isinstance(last, nodes.Text):
                children[-1] = nodes.Text(last + child)
            else:
                children.append(child)
        if len(children) < len(parent.children):
            parent.children = []
            parent.extend(children)


def uses(document: nodes.document) -> Iterator[nodes.reference | nodes.Text]:
    """Yield the links and the texts outside of code, headings and links, in the order of the page."""
    for node in list(document.findall()):
        if isinstance(node, nodes.reference) or (
            isinstance(node, nodes.Text)
            and not any(isinstance(each, OPAQUE) for each in _around(node))
        ):
            yield node


def _around(node: nodes.Node) -> Iterator[nodes.Node]:
    while (parent := node.parent) is not None:
        yield parent
        node = parent


class TermLinks(SphinxPostTransform):
    """Mark the links to entries of the glossary, and give them the definitions as titles.

    First make links of the first uses of terms.
    """

    default_priority = 520
    formats = ("html",)

    def run(self, **_: object) -> None:
        """Mark the links of one page."""
        if GLOSSARY not in self.env.all_docs:
            return
        glossary = self.app.builder.get_relative_uri(self.env.docname, GLOSSARY)
        found = definitions(Path(self.env.doc2path(GLOSSARY)).read_text())
        known = {nodes.make_id(name): sentence for name, sentence in found.items()}
        if PAGES.match(self.env.docname):
            self._link_first_uses(glossary)
        for link in self.document.findall(nodes.reference):
            if (entry := _entry(link, glossary)) in known:
                link["reftitle"] = known[entry]
                link["classes"].append("term")

    def _link_first_uses(self, glossary: str) -> None:
        matcher, ids = pattern(tuple(entries(Path(self.env.doc2path(GLOSSARY)).read_text())))
        seen: set[str] = set()
        join_texts(self.document)
        for node in uses(self.document):
            if isinstance(node, nodes.reference):
                seen.add(_entry(node, glossary))
                continue
            parts: list[nodes.Node] = []
            end = 0
            for use in matcher.finditer(node):
                entry = ids[" ".join(use[0].lower().split())]
                if entry in seen:
                    continue
                seen.add(entry)
                link = nodes.reference("", use[0], internal=True, refuri=f"{glossary}#{entry}")
                parts += [nodes.Text(node[end : use.start()]), link]
                end = use.end()
            if parts:
                node.parent.replace(node, [*parts, nodes.Text(node[end:])])


def _entry(link: nodes.reference, glossary: str) -> str:
    """Return the id of the entry to which a link leads, or an empty string."""
    page, _, fragment = link.get("refuri", "").partition("#")
    # A link can have the anchor of Markdown viewers, which may contain underscores, or the id of Sphinx.
    return nodes.make_id(fragment) if page == glossary else ""
