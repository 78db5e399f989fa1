"""Make wide tables readable on narrow screens, where pages.css shows each row as a block.

In a table whose last column has the heading `meaning`, the meaning stands below the other cells. In other wide tables,
each cell stands on a line of its own. The first cell is the title of the row; the others follow the headings of their
columns.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.writers.html5 import HTML5Translator

#: A table is wide if it has at least three columns, and without line breaks its rows have more characters than this.
PHONE = 36
COLUMNS = 3
#: Tables that have a form of their own for narrow screens.
OWN_FORM = {"stepper"}


class WideTables(SphinxTransform):
    """Add a CSS class to these tables, and the heading of its column to each of their cells."""

    default_priority = 400

    def apply(self, **_: object) -> None:
        """Mark the tables of one page."""
        for table in self.document.findall(nodes.table):
            heads = [cell.astext() for cell in _cells(table, nodes.thead)]
            if heads and heads[-1] == "meaning":
                table["classes"].append("meanings")
            elif (
                len(heads) >= COLUMNS
                and not OWN_FORM & set(table["classes"])
                and _width(table) > PHONE
            ):
                table["classes"].append("rows")
            else:
                continue
            for number, cell in enumerate(_cells(table, nodes.tbody)):
                cell["head"] = heads[number % len(heads)]


def _cells(table: nodes.table, part: type[nodes.Element]) -> list[nodes.entry]:
    return [cell for found in table.findall(part) for cell in found.findall(nodes.entry)]


def _width(table: nodes.table) -> int:
    """Return the characters of the longest lines of all columns together."""
    rows = [list(row.findall(nodes.entry)) for row in table.findall(nodes.row)]
    return sum(
        max(len(line) for cell in column for line in (cell.astext().splitlines() or [""]))
        for column in zip(*rows, strict=True)
    )


class Translator(HTML5Translator):
    """Writes the heading of the column into a cell of such a table, as the attribute `data-head`."""

    def visit_entry(self, node: nodes.Element) -> None:
        """Write the start of a cell."""
        super().visit_entry(node)
        if "head" in node:
            start = self.body.pop()
            head = self.attval(node["head"])
            self.body.append(start.replace("<td", f'<td data-head="{head}"', 1))
