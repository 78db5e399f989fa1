"""Check the links of the built pages: ``python -m ksmlab.site.links build/docs/html``.

Sphinx checks only the links that it resolves itself. This module reads the resulting pages: every href and src, whether
it comes from Sphinx, a template or raw HTML, must lead to an existing file, and each fragment after a # to an id in it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LINKS = {
    "a": "href",
    "link": "href",
    "img": "src",
    "script": "src",
    "iframe": "src",
    "use": "href",
}


@dataclass
class _Page(HTMLParser):
    """The links of a page, and the ids that links can refer to."""

    links: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {name for key in ("id", "name") if (name := found.get(key))}
        if link := found.get(_LINKS.get(tag, "")):
            self.links.append(link)


def broken(root: Path) -> list[str]:
    """Return the broken links, each with its page.

    Args:
        root: The directory of the pages, which is searched recursively.
    """
    pages = {path.resolve(): _parsed(path) for path in sorted(root.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            there = target.is_file()
            # Fragments of files that are not pages are not checked: a script may interpret them itself.
            wanted = unquote(parts.fragment) if target in pages else ""
            if not there or (wanted and wanted not in pages[target].ids):
                found.append(f"{path.relative_to(root.resolve())}: {link}")
    return found


def _parsed(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text())
    return page


def main() -> None:
    """Check the pages below the directory in the first argument; list the broken links, and exit with status 1."""
    root = Path(sys.argv[1])
    if not any(root.rglob("*.html")):
        sys.exit(f"{root} has no pages to check. Build them with:  make docs")
    if found := broken(root):
        sys.exit("\n".join(["These links are broken:", *found]))


if __name__ == "__main__":
    main()
