"""Convert the driver's kernel-doc comments to Markdown.

Neither of the two existing Sphinx extensions works for this driver. linuxdoc (20260504) accepts only numbers as the
width of a bit-field, and takes ``hash : KSM_HASH_BITS`` for a member of this name. It also creates duplicate targets if
a function and an enum, or the types of two indexes, have the same name. hawkmoth needs the headers of a configured
kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import dedent

from ksmlab.lessons import excerpt
from ksmlab.site.definitions import KERNEL, MEMBER, DefinitionError, comment_lines, unmarked

FUNCTION = re.compile(r"\b(\w+\(\))")
HEAD = re.compile(r"(?P<name>(?:(?:struct|enum) )?\w+)(?:\(\))? - (?P<summary>.*)")


@dataclass(frozen=True)
class Doc:
    """The kernel-doc of one function or type.

    Attributes:
        name: The name of the function or type.
        line: The line of the file on which its definition begins.
        prototype: The prototype of a function, or the definition of a type.
        summary: Its summary.
        members: Pairs of a parameter or member and its description.
        body: The rest of the description, as Markdown.
    """

    name: str
    line: int
    prototype: str
    summary: str
    members: tuple[tuple[str, str], ...]
    body: str


def markdown(text: str) -> str:
    """Convert text of kernel-doc to Markdown."""
    text = text.replace("<", "\\<").replace("|", "\\|")
    return FUNCTION.sub(r"`\1`", unmarked(text))


def opening(file: str) -> str:
    """Return the opening comment of a file of kernel/ as Markdown. Indented parts become code blocks."""
    comment = re.search(r"^/\*\n.*?\*/$", (KERNEL / file).read_text(), re.DOTALL | re.MULTILINE)
    if comment is None:
        return ""
    parts = []
    for part in "\n".join(comment_lines(comment[0])).strip().split("\n\n"):
        verbatim = part.startswith("\t")
        parts.append(f"```text\n{dedent(part.expandtabs())}\n```" if verbatim else markdown(part))
    return "\n\n".join(parts)


def docs(file: str) -> list[Doc]:
    """Return the kernel-doc of a file of kernel/, in its order.

    Raises:
        DefinitionError: The file has no kernel-doc, or a comment does not begin with the name that it describes.
    """
    found = [
        _doc(file, piece)
        for piece in excerpt.pieces(KERNEL / file).values()
        if piece.comment.startswith("/**")
    ]
    if not found:
        raise DefinitionError(f"kernel/{file} has no kernel-doc")
    return found


def _doc(file: str, piece: excerpt.Excerpt) -> Doc:
    lines = [line for line in comment_lines(piece.comment) if line.strip() or line == ""]
    while lines and not lines[0].strip():
        del lines[0]
    head = HEAD.fullmatch(lines[0].strip()) if lines else None
    if head is None or head["name"] != piece.name:
        raise DefinitionError(
            f"kernel/{file}: the kernel-doc above {piece.name} does not begin with this name"
        )
    members: list[tuple[str, str]] = []
    body: list[str] = []
    summary = head["summary"]
    in_head = True
    for line in lines[1:]:
        if match := MEMBER.match(line):
            members.append((match[1], match[2].strip()))
            in_head = False
        elif line.startswith("\t") and members and not body:
            members[-1] = (members[-1][0], f"{members[-1][1]} {line.strip()}")
        elif in_head and line.strip():
            summary += f" {line.strip()}"
        else:
            in_head = False
            body.append(line.strip())
    prototype = ""
    if piece.name.startswith(("struct", "enum")):
        prototype = piece.text
    elif "{" in piece.text:
        prototype = " ".join(piece.text.partition("\n{")[0].split())
    return Doc(
        name=piece.name,
        line=piece.first,
        prototype=prototype,
        summary=markdown(summary.strip()),
        members=tuple((name, markdown(text)) for name, text in members),
        body=markdown("\n".join(body).strip()),
    )
