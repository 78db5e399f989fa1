"""Let pages link to Markdown files outside docs/, such as README.md, as they would without the site."""

from __future__ import annotations

import os
from pathlib import Path

from sphinx.addnodes import download_reference, pending_xref
from sphinx.transforms import SphinxTransform


class OutsideLinks(SphinxTransform):
    """Turn each link to a Markdown file outside docs/ into a download of that file.

    MyST takes every Markdown file for a page of the site. A link to one outside docs/ it warns about.
    """

    # Before Sphinx collects the files to download.
    default_priority = 400

    def apply(self, **_: object) -> None:
        """Replace the links of one page."""
        page = Path(self.env.doc2path(self.env.docname))
        for node in list(self.document.findall(pending_xref)):
            target = Path(f"{node['reftarget']}.md")
            if node["refdomain"] != "doc" or not target.is_absolute() or not target.is_file():
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
