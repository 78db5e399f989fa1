"""Find and rewrite the blocks of a page that a program writes.

A block is a marker, the written text, and an end marker:

    <!-- excerpt kernel/pte.c get_pte
    comment: yes
    -->
    (the written text)
    <!-- end -->

Markers are HTML comments, which viewers of Markdown do not show. A marker begins in the first column, so an indented
example of a marker is not a block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: The names of blocks. All other HTML comments are ordinary comments.
NAMES = ("excerpt", "file", "lesson", "reference", "run", "targets")
BLOCK = re.compile(
    rf"^<!-- (?P<name>{'|'.join(NAMES)})(?P<arguments>(?: (?!-->)\S+)*)(?P<options>(?:\n[a-z]+: .*)*)[ \n]-->\n"
    r"(?P<body>(?:(?!<!-- ).*\n)*?)<!-- end -->$",
    re.MULTILINE,
)
MARKER = re.compile(rf"^<!-- (?:{'|'.join(NAMES)}|end)\b", re.MULTILINE)
OPTION = re.compile(r"^([a-z]+): (.*)$", re.MULTILINE)
FENCE = re.compile(r"`{3,}")


class BlockError(Exception):
    """A marker is incomplete, or its block cannot be written. The text has the line number."""


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        name: The name of the block, which selects the program that writes it.
        arguments: The words after the name.
        options: The lines of the marker, as pairs of name and value. A name may occur more than once.
        body: The written text, which ends with a newline unless it is empty.
        line: The line number of the marker, from 1.
        start: The offset of the marker in the page.
        end: The offset after the end marker.
    """

    name: str
    arguments: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    body: str
    line: int
    start: int
    end: int

    @property
    def option(self) -> dict[str, str]:
        """The options by name. If a name occurs more than once, the last value counts."""
        return dict(self.options)

    @property
    def text(self) -> str:
        """The block as text, with its markers."""
        head = " ".join((f"<!-- {self.name}", *self.arguments))
        lines = "".join(f"\n{name}: {value}" for name, value in self.options)
        return f"{head}{lines}{chr(10) if lines else ' '}-->\n{self.body}<!-- end -->"

    def written(self, body: str) -> Block:
        """Return the block with another body."""
        return replace(self, body=body.strip("\n") + "\n" if body.strip() else "")


def find(text: str) -> list[Block]:
    """Return the blocks of a page, in order.

    Raises:
        BlockError: A marker has no end, or an end has no marker.
    """
    found = [
        Block(
            each["name"],
            tuple(each["arguments"].split()),
            tuple(OPTION.findall(each["options"])),
            each["body"],
            text.count("\n", 0, each.start()) + 1,
            each.start(),
            each.end(),
        )
        for each in BLOCK.finditer(text)
    ]
    for marker in MARKER.finditer(text):
        if not any(block.start <= marker.start() < block.end for block in found):
            line = text.count("\n", 0, marker.start()) + 1
            raise BlockError(
                f"line {line}: {marker[0]!r} is not part of a block that ends with '<!-- end -->'"
            )
    return found


def rewrite(text: str, write: Callable[[Block], Block]) -> str:
    """Return a page in which a function has replaced each block.

    Args:
        text: The page.
        write: Returns the new block for a block.

    Raises:
        BlockError: See find().
    """
    parts, done = [], 0
    for block in find(text):
        parts += [text[done : block.start], write(block).text]
        done = block.end
    return "".join((*parts, text[done:]))


def fence(code: str, language: str) -> str:
    """Return code as a fenced block of Markdown."""
    longest = max((len(each) for each in FENCE.findall(code)), default=2)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{language}\n{code.rstrip()}\n{mark}\n"
