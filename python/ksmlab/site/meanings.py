"""Let a phone show the meaning of a name below it: mark tables whose last column is headed `meaning`."""

from __future__ import annotations

from docutils import nodes
from sphinx.transforms import SphinxTransform


class MeaningTables(SphinxTransform):
    """Give these tables a class, for which pages.css has the rules."""

    default_priority = 400

    def apply(self, **_: object) -> None:
        """Mark the tables of one page."""
        for table in self.document.findall(nodes.table):
            heads = [
                row for head in table.findall(nodes.thead) for row in head.findall(nodes.entry)
            ]
            if heads and heads[-1].astext() == "meaning":
                table["classes"].append("meanings")
