"""Let pages of the site link to Markdown files outside of docs/, and show README.md as a page.

``<!-- body README.md -->`` in a page stands for the text of this file, without its title. Links to the file lead to
that page. Other viewers of Markdown show the page as it is, with its link to the file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.addnodes import download_reference, pending_xref
from sphinx.transforms import SphinxTransform

if TYPE_CHECKING:
    from sphinx.application import Sphinx

BODY = re.compile(r"^<!-- body (?P<file>\S+) -->$", re.MULTILINE)
TITLE = re.compile(r"^# .*\n+")
LINK = re.compile(r"\]\((?![a-z]+:|#)(?P<path>[^)#]+)")
#: The files of the checkout that are pages of the site, each with the name of its page.
SHOWN = {"README.md": "readme"}


def show(app: Sphinx, name: str, content: list[str]) -> None:
    """Replace the text of a page that shows a file; Sphinx calls this function with the text.

    Raises:
        OSError: The file cannot be read.
    """
    marker = BODY.search(content[0])
    title = TITLE.match(content[0])
    if not marker or not title:
        return
    page = Path(app.env.doc2path(name))
    file = Path(app.srcdir).parent / marker["file"]
    app.env.note_dependency(str(file))

    def moved(found: re.Match[str]) -> str:
        return "](" + os.path.relpath(file.parent / found["path"], page.parent)

    content[0] = title[0] + LINK.sub(moved, TITLE.sub("", file.read_text()))


class OutsideLinks(SphinxTransform):
    """Turns each link to a Markdown file outside of docs/ into a link to its page, or else into a download.

    MyST treats all Markdown files as pages of the site, and warns about links to files outside of docs/.
    """

    # Run before Sphinx collects the files to download.
    default_priority = 400

    def apply(self, **_: object) -> None:
        """Replace the links of one page."""
        page = Path(self.env.doc2path(self.env.docname))
        checkout = Path(self.env.srcdir).resolve().parent
        shown = {checkout / file: name for file, name in SHOWN.items()}
        for node in list(self.document.findall(pending_xref)):
            target = Path(f"{node['reftarget']}.md")
            if node["refdomain"] != "doc" or not target.is_absolute() or not target.is_file():
                continue
            name = shown.get(target.resolve())
            if name in self.env.found_docs:
                node["reftarget"] = name
                continue
            link = download_reference(
                "",
                "",
                *node.children,
                reftarget=os.path.relpath(target, page.parent),
                refdoc=self.env.docname,
                refdomain=None,
                reftype="myst",
                refexplicit=True,
            )
            node.replace_self(link)
