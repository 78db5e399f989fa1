"""replace_page(): an entry, two pages and the books of both and of the process, before and after."""

from __future__ import annotations

from dataclasses import dataclass

from drawings.canvas import Canvas

NAME = "replace-page"
_PANEL = 366.0
_PTE_WIDTH, _PAGE_WIDTH, _PAGE_HEIGHT = 112.0, 172.0, 92.0


@dataclass(frozen=True)
class _Books:
    """What the accounts say: of the process, of its old page, of the kernel page."""

    anonymous: int
    file: int
    old: str
    kernel: str


def _panel(sheet: Canvas, x: float, title: str, entry: str, books: _Books, *, merged: bool) -> None:
    sheet.text(x, 40, title, "head")
    sheet.text(x, 76, "page table", "dim small")
    for row in range(3):
        y = 84.0 + row * 34
        sheet.box(x, y, _PTE_WIDTH, 34, "one" if row == 1 else "box", 0)
        words, css = (entry, "code middle") if row == 1 else ("…", "dim middle")
        sheet.text(x + _PTE_WIDTH / 2, y + 22, words, css)
    left = x + _PTE_WIDTH + 50
    for y, name, account, css in (
        (84.0, "the page of the process", books.old, "none" if merged else "three"),
        (214.0, "the kernel page", books.kernel, "two"),
    ):
        sheet.text(left, y - 8, name, "dim small")
        sheet.box(left, y, _PAGE_WIDTH, _PAGE_HEIGHT, css)
        sheet.lines(left + 10, y + 22, account, "small", 18)
    target = 240.0 if merged else 130.0
    sheet.arrow((x + _PTE_WIDTH, 135), (left, target))
    sheet.box(x, 214, _PTE_WIDTH, 34, "box")
    sheet.text(x + _PTE_WIDTH / 2, 236, "merge job", "middle small")
    # The reference that it holds is not a mapping.
    sheet.arrow((x + _PTE_WIDTH, 240), (left, 280), css="dashed")
    sheet.text(x, 338, "rss of the process", "dim small")
    sheet.text(x, 360, f"anonymous {books.anonymous}, file {books.file}", "strong small")


def draw() -> str:
    """Return the SVG."""
    sheet = Canvas(
        NAME,
        2 * _PANEL + 12,
        472,
        "The books before and after replace_page()",
        "Before: the entry is writable and maps the page of the process, which has one reference and one mapping; the "
        "kernel page has one reference, that of the merge job, and no mapping. After: the entry is read-only and "
        "clean and maps the kernel page, which has two references and one mapping; the page of the process has none "
        "left and is freed. The rss of the process has one anonymous page less and one page of files more. The merge "
        "job then drops its reference.",
    )
    _panel(
        sheet,
        20,
        "before",
        "writable",
        _Books(
            1,
            0,
            "references: 1 (the entry)\nmap count: 1\nrmap: anonymous\na swap slot, perhaps",
            "references: 1 (the job)\nmap count: 0\nrmap: none",
        ),
        merged=False,
    )
    _panel(
        sheet,
        20 + _PANEL,
        "after",
        "read-only",
        _Books(
            0,
            1,
            "references: 0\nmap count: 0\nfreed, and its swap slot\nwith it",
            "references: 2 (the job,\nthe entry)\nmap count: 1\nrmap: of files",
        ),
        merged=True,
    )
    sheet.line((_PANEL + 2, 24), (_PANEL + 2, 370), css="dashed")
    sheet.lines(
        20,
        396,
        "The entry is clean, and keeps its soft-dirty bit. If another process still maps the old page, after fork(),\n"
        "that page stays, with a reference and a mapping for each, and is dirty if the entry was.\n"
        "Then the merge job drops its reference: only mappings keep the kernel page allocated. Each further merge\n"
        "adds a reference and a mapping to it. It is never on a list of reclaim.",
        "dim small",
        20,
    )
    return sheet.svg()
