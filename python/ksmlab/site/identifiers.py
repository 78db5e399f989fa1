"""Turn the names of the driver's functions and types in pages into links to the reference."""

from __future__ import annotations

from functools import cache

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

from ksmlab.site import kernel_doc
from ksmlab.site.definitions import KERNEL


def page_of(file: str) -> str:
    """Return the name of the reference page of a file of kernel/."""
    return f"reference/driver/{file.replace('.', '_')}"


@cache
def targets() -> dict[str, tuple[str, str]]:
    """Return the page and the anchor of each name: ``get_pte``, ``get_pte()``, ``struct ksm_item``."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(KERNEL.glob("*.[ch]")):
        if "\n/**\n" not in path.read_text():
            continue
        for doc in kernel_doc.docs(path.name):
            target = (page_of(path.name), nodes.make_id(doc.name))
            found.setdefault(doc.name, target)
            found.setdefault(f"{doc.name}()", target)
    return found


class IdentifierLinks(SphinxPostTransform):
    """Turns code that is the name of a documented function or type into a link, except in its own section."""

    default_priority = 400

    def run(self, **_: object) -> None:
        """Replace the names on one page."""
        page = self.env.docname
        for node in list(self.document.findall(nodes.literal)):
            target = targets().get(node.astext())
            if target is None or target[0] not in self.env.all_docs:
                continue
            if isinstance(node.parent, nodes.reference | nodes.title):
                continue
            docname, anchor = target
            if docname == page and any(anchor in each for each in _sections(node)):
                continue
            uri = self.app.builder.get_relative_uri(page, docname)
            link = nodes.reference("", "", internal=True, refuri=f"{uri}#{anchor}")
            node.replace_self(link)
            link += node


def _sections(node: nodes.Node) -> list[list[str]]:
    """Return the ids of the sections around a node."""
    found = []
    while node.parent is not None:
        node = node.parent
        if isinstance(node, nodes.section):
            found.append(node["ids"])
    return found
