"""``{excerpt} kernel/pte.c get_pte``: a piece of a source file by the name that it has there.

A name that is not there is an error of the build: the page cannot show what has been renamed.
"""

from __future__ import annotations

import os
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import download_reference
from sphinx.util.docutils import SphinxDirective

from ksmlab.lessons import excerpt

LANGUAGES = {".c": "c", ".h": "c", ".py": "python"}


class ExcerptDirective(SphinxDirective):
    """A file, and the names of what is to be shown of it (``struct:x`` for a structure), one block each.

    With ``:comment:`` the comment above it is shown, too; with ``:lines: 1-20`` some of its lines, from 1.
    """

    required_arguments = 2
    optional_arguments = 20
    option_spec = {"comment": directives.flag, "lines": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Make the blocks."""
        path, *names = self.arguments
        self.env.note_dependency(str(excerpt.CHECKOUT / path))
        try:
            return [self._block(path, self._find(path, name)) for name in names]
        except excerpt.ExcerptError as error:
            raise self.error(str(error)) from None

    def _find(self, path: str, name: str) -> excerpt.Excerpt:
        found = excerpt.find(path, name.replace(":", " "))
        return found.cut(comment="comment" in self.options, lines=self.options.get("lines", ""))

    def _block(self, path: str, found: excerpt.Excerpt) -> nodes.Node:
        block = nodes.literal_block(found.text, found.text, language=LANGUAGES[Path(path).suffix])
        block["linenos"] = False
        self.set_source_info(block)
        caption = nodes.caption("", "")
        caption += self._source(path)
        caption += nodes.Text(", ")
        # ksmlab.site.identifiers makes a link of the name.
        caption += nodes.literal(found.name, found.name)
        caption += nodes.Text(f", line {found.first}")
        wrapper = nodes.container(
            "", caption, block, literal_block=True, classes=["literal-block-wrapper"]
        )
        self.set_source_info(wrapper)
        return wrapper

    def _source(self, path: str) -> nodes.Node:
        """Return a link to the complete file."""
        page = Path(self.env.doc2path(self.env.docname))
        return download_reference(
            "",
            "",
            nodes.literal(path, path),
            reftarget=os.path.relpath(excerpt.CHECKOUT / path, page.parent),
            refdoc=self.env.docname,
            refdomain=None,
            reftype="download",
            refexplicit=True,
        )
