"""Update the blocks of pages that are generated from sources: quoted code, tables, and the heads of lessons.

    python -m ksmlab.site.pages [--check]

With ``--check``, nothing is written, and a page that differs from its sources is an error. The ``run`` blocks of
lessons are not changed; `make lessons-record` writes them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.bench import kept
from ksmlab.lessons import blocks, excerpt, recorded, source
from ksmlab.lessons.blocks import BlockError
from ksmlab.lessons.excerpt import CHECKOUT, ExcerptError
from ksmlab.lessons.source import LessonError
from ksmlab.site import tables
from ksmlab.site.definitions import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ksmlab.lessons.blocks import Block

DOCS = CHECKOUT / "docs"
HINT = "Update the pages with:  make pages"
LANGUAGES = {".c": "c", ".h": "c", ".py": "python", ".sh": "sh", ".toml": "toml", "Kbuild": "make"}
ERRORS = (BlockError, DefinitionError, ExcerptError, LessonError, kept.KeptError)


@dataclass(frozen=True)
class Page:
    """A page with blocks.

    Attributes:
        path: The path of the page.
    """

    path: Path

    def rewritten(self) -> str:
        """Return the page with updated blocks.

        Raises:
            BlockError: A block is not complete, or cannot be generated because its source has changed.
        """
        return blocks.rewrite(self.path.read_text(), self._write)

    def _write(self, block: Block) -> Block:
        writers: dict[str, Callable[[Block], Block]] = {
            "excerpt": self._excerpt,
            "file": self._file,
            "lesson": self._lesson,
            "reference": lambda block: block.written(tables.render(*block.arguments)),
            "run": lambda block: block,
            "targets": lambda block: block.written(kept.of_options(block.option)),
        }
        try:
            return writers[block.name](block)
        except ERRORS as error:
            raise BlockError(f"line {block.line}: {error}") from None

    def _excerpt(self, block: Block) -> Block:
        path, *names = block.arguments
        parts = []
        for name in names:
            found = excerpt.find(path, name.replace(":", " "))
            comment, lines = block.option.get("comment") == "yes", block.option.get("lines", "")
            piece = found.cut(comment=comment, lines=lines)
            parts.append(self._code(path, piece.first, piece.text))
        return block.written("\n".join(parts))

    def _file(self, block: Block) -> Block:
        (path,) = block.arguments
        piece = excerpt.part(path, block.option.get("from", ""), block.option.get("until", ""))
        return block.written(self._code(path, piece.first, piece.text))

    def _code(self, path: str, line: int, code: str) -> str:
        target = os.path.relpath(CHECKOUT / path, self.path.parent)
        caption = f"[`{path}:{line}`]({target}#L{line})"
        inside_comment = code.startswith(" *")
        name = Path(path)
        language = "text" if inside_comment else LANGUAGES[name.suffix or name.name]
        return f"{caption}\n\n{blocks.fence(code, language)}"

    def _lesson(self, block: Block) -> Block:
        lesson = source.read(self.path)
        if lesson.recorded:
            recorded.check(lesson)
        return recorded.head(lesson, block, lesson.recorded)


def all_pages(docs: Path = DOCS) -> list[Path]:
    """Return the Markdown files that may have blocks."""
    return sorted(docs.rglob("*.md"))


def write(paths: Iterable[Path], *, check: bool = False) -> list[str]:
    """Update or check pages, and print the paths of updated pages.

    Args:
        paths: The paths of the pages.
        check: Report pages that differ from their sources instead of updating them.

    Returns:
        A line for each problem.
    """
    problems = []
    for path in paths:
        try:
            text = Page(path).rewritten()
        except BlockError as error:
            problems.append(f"{path}: {error}")
            continue
        if text != path.read_text():
            if check:
                problems.append(f"{path}: differs from its sources. {HINT}")
            else:
                path.write_text(text)
                print(path)
    return problems


def main() -> None:
    """Update or check all pages. Exit with a message if there is a problem."""
    if problems := write(all_pages(), check="--check" in sys.argv[1:]):
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
