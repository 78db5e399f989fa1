"""Mark tables whose last column has the heading `meaning`, so that narrow screens show the meaning below the name."""

from __future__ import annotations

from docutils import nodes
from sphinx.transforms import SphinxTransform


class MeaningTables(SphinxTransform):
    """Adds a CSS class to these tables; pages.css has its rules."""

    default_priority = 400

    def apply(self, **_: object) -> None:
        """Mark the tables of one page."""
        for table in self.document.findall(nodes.table):
            heads = [
                row for head in table.findall(nodes.thead) for row in head.findall(nodes.entry)
            ]
            if heads and heads[-1].astext() == "meaning":
                table["classes"].append("meanings")
