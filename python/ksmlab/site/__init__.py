"""Generate parts of the documentation from sources, and extend Sphinx for its site."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksmlab.site import comments, identifiers, meanings, outside

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension. Sphinx calls this function."""
    app.add_transform(outside.OutsideLinks)
    app.add_transform(meanings.MeaningTables)
    app.add_post_transform(identifiers.IdentifierLinks)
    app.connect("source-read", comments.read)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
