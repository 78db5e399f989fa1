"""Give the site a light and a dark form of each drawing, so that both follow the site's own switch.

A drawing in docs/images has one rule for dark screens, `@media (prefers-color-scheme: dark)`. In an `img` or `iframe`
element, that rule follows the operating system in some browsers, such as Safari, not the switch of the page. The site
gets two files, each with the rule resolved, and Furo's classes `only-light` and `only-dark` show one of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

SCHEMES = ("light", "dark")
RULE = re.compile(r"@media \(prefers-color-scheme: dark\)\s*\{")
META = '<meta name="color-scheme" content="light dark">'


def resolve(text: str, scheme: str) -> str:
    """Return an SVG or HTML file that looks the same whatever the operating system prefers.

    Args:
        text: The file, with style rules for dark screens.
        scheme: "light" leaves these rules out; "dark" applies them always.

    Raises:
        ValueError: A rule has no closing brace.
    """
    text = text.replace(META, META.replace("light dark", scheme))
    while found := RULE.search(text):
        end = _closing(text, found.end())
        rules = text[found.end() : end].strip() if scheme == "dark" else ""
        text = text[: found.start()] + rules + text[end + 1 :]
    return text


def _closing(text: str, start: int) -> int:
    """Return the offset of the brace that closes the one before `start`."""
    depth = 1
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return start + brace.start()
    raise ValueError("a rule for dark screens has no closing brace")


class SchemedDrawings(SphinxPostTransform):
    """Replace each SVG image that has a rule for dark screens by its light and its dark form."""

    default_priority = 500
    formats = ("html",)
    directory: ClassVar[str] = "drawings"

    def run(self, **_: object) -> None:
        """Replace the images of one page."""
        for image in list(self.document.findall(nodes.image)):
            source = Path(self.env.srcdir) / image["uri"]
            if source.suffix != ".svg" or not source.is_file():
                continue
            text = source.read_text()
            if RULE.search(text):
                image.replace_self([self._form(image, source, text, each) for each in SCHEMES])

    def _form(self, image: nodes.image, source: Path, text: str, scheme: str) -> nodes.image:
        name = f"{source.stem}-{scheme}.svg"
        path = Path(self.app.doctreedir) / self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(resolve(text, scheme))
        # The builder copies these files to its directory of images.
        self.app.builder.images[str(path)] = name
        form = image.copy()
        form["uri"] = str(path)
        form["candidates"] = {"*": str(path)}
        form["classes"] = [*image["classes"], f"only-{scheme}"]
        return form
