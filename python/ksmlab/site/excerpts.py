"""``{excerpt} kernel/pte.c get_pte``: a piece of a source file by the name that it has there.

A name that is not there is an error of the build: the page cannot show what has been renamed.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
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
            return [self._block(path, excerpt.find(path, name.replace(":", " "))) for name in names]
        except excerpt.ExcerptError as error:
            raise self.error(str(error)) from None

    def _block(self, path: str, found: excerpt.Excerpt) -> nodes.Node:
        text, first = found.text, found.first
        if "comment" in self.options and found.comment:
            text = f"{found.comment}\n{text}"
            first -= found.comment.count("\n") + 1
        if "lines" in self.options:
            start, _, end = self.options["lines"].partition("-")
            lines = text.splitlines()[int(start) - 1 : int(end or start)]
            if not lines:
                raise self.error(f"{path}, {found.name} has no lines {self.options['lines']}")
            text, first = "\n".join(lines), first + int(start) - 1
        block = nodes.literal_block(text, text, language=LANGUAGES[Path(path).suffix])
        block["linenos"] = False
        self.set_source_info(block)
        caption = nodes.caption("", "")
        caption += nodes.literal(path, path)
        caption += nodes.Text(f", {found.name}, from line {first}")
        wrapper = nodes.container(
            "", caption, block, literal_block=True, classes=["literal-block-wrapper"]
        )
        self.set_source_info(wrapper)
        return wrapper
