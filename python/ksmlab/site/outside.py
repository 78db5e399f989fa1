"""Let pages of the site link to Markdown files outside of docs/, such as README.md."""

from __future__ import annotations

import os
from pathlib import Path

from sphinx.addnodes import download_reference, pending_xref
from sphinx.transforms import SphinxTransform


class OutsideLinks(SphinxTransform):
    """Turns each link to a Markdown file outside of docs/ into a download of that file.

    MyST treats all Markdown files as pages of the site, and warns about links to files outside of docs/.
    """

    # Run before Sphinx collects the files to download.
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
