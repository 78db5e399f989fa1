"""Count the words of a page."""

from __future__ import annotations

import re


def spoken(text: str) -> list[str]:
    """Return the words that a person reads aloud: no images, tables, commands or addresses."""
    for pattern in (r"<!--.*?-->", r"^\|.*?$", r"```.*?^```", r"!\[.*?\]\(.*?\)", r"\]\(.*?\)"):
        text = re.sub(pattern, "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\w[\w'./-]*", text)
