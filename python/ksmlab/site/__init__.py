"""What the documentation needs beyond Sphinx: lessons as they were played, code by its name, the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksmlab.site import excerpts, identifiers, lesson_pages, outside, tables

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directives; Sphinx calls it."""
    app.add_directive("lesson", lesson_pages.LessonHead)
    app.add_directive("run", lesson_pages.Run)
    app.add_directive("excerpt", excerpts.ExcerptDirective)
    app.add_directive("targets", tables.TargetsDirective)
    app.add_directive("reference", tables.ReferenceDirective)
    app.add_transform(outside.OutsideLinks)
    app.add_post_transform(identifiers.IdentifierLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
