"""Find definitions in source files by name: functions, types, macros, tracepoints, classes.

C code must follow the kernel's coding style: a definition and its closing brace begin in the first column.
"""

from __future__ import annotations

import ast
import difflib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parents[3]
KEYWORDS = {"if", "for", "while", "switch", "return", "sizeof", "static_assert"}

C_TYPE = re.compile(r"(?:static )?(?:const )?(?P<name>(?:struct|enum|union) \w+) \{")
C_MACRO = re.compile(r"#define (?P<name>\w+)")
C_EVENT = re.compile(r"TRACE_EVENT\((?P<name>\w+),")
C_FUNCTION = re.compile(r"[a-zA-Z_][\w \t*]*?\b\*?(?P<name>[a-zA-Z_]\w*)\((?!.*\);)")
C_ATTRIBUTE = re.compile(r"__attribute__\(\(.*?\)\)\s*")
C_OBJECT = re.compile(r"(?:static |const |struct )[\w *]*?\b(?P<name>\w+)(?:\[[^\]]*\])? = \{")


class ExcerptError(Exception):
    """The file, the definition or the lines do not exist."""


@dataclass(frozen=True)
class Excerpt:
    """A part of a file.

    Attributes:
        name: The name that it defines.
        first: The number of its first line, from 1.
        text: Its text, without the comment above it.
        comment: The comment directly above it, in C.
    """

    name: str
    first: int
    text: str
    comment: str = ""

    def cut(self, *, comment: bool, lines: str = "") -> Excerpt:
        """Return the part that a page shows.

        Args:
            comment: Whether to include the comment above it.
            lines: The lines of the result, from 1, as a range such as ``8-22`` or one number; all if empty.

        Raises:
            ExcerptError: There are no such lines.
        """
        text, first = self.text, self.first
        if comment and self.comment:
            text = f"{self.comment}\n{text}"
            first -= self.comment.count("\n") + 1
        if lines:
            start, _, end = lines.partition("-")
            chosen = text.splitlines()[int(start) - 1 : int(end or start)]
            if not chosen:
                raise ExcerptError(
                    f"{self.name} has only {len(text.splitlines())} lines, so lines {lines} cannot be quoted"
                )
            text, first = "\n".join(chosen), first + int(start) - 1
        return Excerpt(self.name, first, text)


def find(path: str, name: str, checkout: Path = CHECKOUT) -> Excerpt:
    """Find a definition in a file.

    Args:
        path: The path of the file in the checkout.
        name: In C, the name of a function, a macro, a tracepoint or an object, or ``struct x`` or ``enum x``. In
            Python, the name of a function or a class, or ``Class.method``.
        checkout: The top directory of the checkout.

    Raises:
        ExcerptError: The file or the definition does not exist; the text has similar names.
    """
    file = checkout / path
    if not file.is_file():
        raise ExcerptError(f"{path} does not exist, so {name!r} cannot be quoted from it")
    found = pieces(file)
    if name not in found:
        near = difflib.get_close_matches(name, found, n=3, cutoff=0.4)
        hint = f" Similar names: {', '.join(near)}." if near else ""
        raise ExcerptError(f"{path} does not define {name!r}.{hint} Was it renamed?")
    return found[name]


def part(path: str, start: str = "", end: str = "", checkout: Path = CHECKOUT) -> Excerpt:
    """Return a file, or some lines of it.

    Args:
        path: The path of the file in the checkout.
        start: Text in the first line to show. If the line before it opens a comment, that line is shown as well. If
            empty, the part begins with the first line of the file.
        end: Text in the first line after the part. If empty, the part extends to the end of the file.
        checkout: The top directory of the checkout.

    Raises:
        ExcerptError: The file does not exist, or no line has the text.
    """
    file = checkout / path
    if not file.is_file():
        raise ExcerptError(f"{path} does not exist")
    lines = file.read_text().splitlines()

    def line_with(text: str, after: int) -> int:
        for number in range(after, len(lines)):
            if text in lines[number]:
                return number
        raise ExcerptError(f"{path} has no line with {text!r} after line {after}. Was it changed?")

    first = line_with(start, 0) if start else 0
    if first and lines[first - 1] in ("/*", "/**"):
        first -= 1
    last = line_with(end, first + 1) if end else len(lines)
    return Excerpt(path, first + 1, "\n".join(lines[first:last]).rstrip())


@cache
def _pieces(file: Path, _changed: int) -> dict[str, Excerpt]:
    lines = file.read_text().splitlines()
    all_of_them = _python(lines) if file.suffix == ".py" else _c(lines)
    result: dict[str, Excerpt] = {}
    for piece in all_of_them:
        result.setdefault(piece.name, piece)
    return result


def pieces(file: Path) -> dict[str, Excerpt]:
    """Return all definitions of a file, by name."""
    return _pieces(file, file.stat().st_mtime_ns)


def _python(lines: list[str]) -> Iterator[Excerpt]:
    def walk(body: list[ast.stmt], prefix: str) -> Iterator[Excerpt]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                assert node.end_lineno is not None
                text = "\n".join(lines[first - 1 : node.end_lineno])
                yield Excerpt(prefix + node.name, first, text)
                if isinstance(node, ast.ClassDef):
                    yield from walk(node.body, f"{node.name}.")

    yield from walk(ast.parse("\n".join(lines)).body, "")


def _c(lines: list[str]) -> Iterator[Excerpt]:
    at = 0
    while at < len(lines):
        found = _c_name(lines, at)
        if found is None:
            at += 1
            continue
        name, last = found
        text = "\n".join(lines[at : last + 1])
        yield Excerpt(name, at + 1, text, _comment_above(lines, at))
        at = last + 1


def _c_name(lines: list[str], at: int) -> tuple[str, int] | None:
    """Return the name of the definition that begins on a line and the index of its last line, or None."""
    line = lines[at]
    if found := C_MACRO.match(line):
        last = at
        while lines[last].endswith("\\"):
            last += 1
        return found["name"], last
    for pattern, end in ((C_TYPE, "}"), (C_EVENT, ")"), (C_OBJECT, "}")):
        if found := pattern.match(line):
            if line.endswith("};"):
                return found["name"], at
            return found["name"], _line_with(lines, at + 1, end)
    if (found := C_FUNCTION.match(C_ATTRIBUTE.sub("", line))) and found["name"] not in KEYWORDS:
        body = at
        # The parameters may take several lines. A line that ends with a semicolon makes it a declaration.
        while body < len(lines) and lines[body] != "{":
            if lines[body].endswith((";", ")};")) or not lines[body]:
                return None
            body += 1
        return found["name"], _line_with(lines, body, "}")
    return None


def _line_with(lines: list[str], at: int, start: str) -> int:
    for number in range(at, len(lines)):
        if lines[number].startswith(start):
            return number
    raise ExcerptError(
        f"the definition at line {at}, {lines[at - 1]!r}, is not ended by a line that begins with {start!r}"
    )


def _comment_above(lines: list[str], at: int) -> str:
    if not at or not lines[at - 1].endswith("*/"):
        return ""
    first = at - 1
    while first and not lines[first].lstrip().startswith("/*"):
        first -= 1
    return "\n".join(lines[first:at])
