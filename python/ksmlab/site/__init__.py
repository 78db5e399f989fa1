"""Generate parts of the documentation from sources, and extend Sphinx for its site."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksmlab.site import (
    comments,
    demo,
    identifiers,
    listings,
    metadata,
    outside,
    schemes,
    search,
    terms,
    transcript,
    wide_tables,
)

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension. Sphinx calls this function."""
    app.add_transform(outside.OutsideLinks)
    app.add_transform(wide_tables.WideTables)
    app.set_translator("html", wide_tables.Translator)
    app.add_post_transform(identifiers.IdentifierLinks)
    app.add_post_transform(listings.ListingLinks)
    app.add_post_transform(schemes.SchemedDrawings)
    app.add_post_transform(demo.DemoFrame)
    app.add_post_transform(terms.TermLinks)
    for name in transcript.TranscriptLexer.aliases:
        app.add_lexer(name, transcript.TranscriptLexer)
    app.connect("source-read", outside.show)
    app.connect("source-read", comments.read)
    app.connect("html-collect-pages", listings.collect)
    app.connect("html-page-context", metadata.add)
    app.connect("build-finished", search.write)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
