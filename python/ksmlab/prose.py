"""Find words in pages, comments, docstrings and messages that the project does not use."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

RULES = Path(__file__).with_name("prose.toml")
#: Code and comments in a page. They are replaced by blanks, except for newlines, so that line numbers do not change.
MARKDOWN_CODE = re.compile(
    r"^(`{3,}).*?^\1|^ {4,}\S[^\n]*|<!--.*?-->|`[^`\n]+`|\]\([^)\n]*\)", re.MULTILINE | re.DOTALL
)
#: Comments on lines that follow each other are one passage, since a sentence goes on in the next line.
C_PROSE = re.compile(r'/\*.*?\*/|//[^\n]*(?:\n[ \t]*//[^\n]*)*|"(?:[^"\\\n]|\\.)*"', re.DOTALL)
SCRIPT_PROSE = re.compile(
    r"""/\*.*?\*/|//[^\n]*(?:\n[ \t]*//[^\n]*)*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`""",
    re.DOTALL,
)
#: A comment that begins with `#`, as in a shell script, or a string in double quotes.
HASH_PROSE = re.compile(r'(?<!\S)#[^\n]*(?:\n[ \t]*#[^\n]*)*|"(?:[^"\\]|\\.)*"', re.DOTALL)
TOML_PROSE = re.compile(
    r"""\#[^\n]*(?:\n[ \t]*\#[^\n]*)*|\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""",
    re.DOTALL,
)
#: Expressions and statements of a template.
TEMPLATE_CODE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
#: The escape sequences of blanks. Without the blank, the letter of the sequence would be a part of the next word.
ESCAPED_BLANK = re.compile(r"\\[nrt]")
#: The space between two words: blanks, or a line break with the start of the next line of a comment, a quotation or
#: a string.
GAP = r"""(?:[ \t]+|[ \t"']*\n[ \t#:*/>]*(?:[fr]*["'])?)"""
#: A string with fewer words is considered a name or an option.
MESSAGE_WORDS = 3


@dataclass(frozen=True)
class Rule:
    """Words to avoid, and words to use instead.

    Attributes:
        pattern: A pattern that matches any of the words to avoid.
        instead: The words to use instead.
        exceptions: The files that may contain the words.
    """

    pattern: re.Pattern[str]
    instead: str
    exceptions: frozenset[Path] = frozenset()


@dataclass(frozen=True)
class Finding:
    """A word to avoid that was found in a file.

    Attributes:
        path: The path of the file.
        line: The line number, from 1.
        word: The word as written in the file.
        instead: The words to use instead.
    """

    path: Path
    line: int
    word: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r} is not used in this project; instead: {self.instead}"


def load(path: Path = RULES) -> tuple[Rule, ...]:
    """Read the rules.

    Raises:
        OSError: The file cannot be read.
        KeyError: A rule lacks `words` or `instead`.
        re.error: A word is not a valid regular expression.
    """
    entries = tomllib.loads(path.read_text())["rule"]
    return tuple(
        Rule(
            re.compile(rf"\b(?:{'|'.join(one['words'])})\b".replace(" ", GAP), re.IGNORECASE),
            one["instead"],
            frozenset(map(Path, one.get("exceptions", ()))),
        )
        for one in entries
    )


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _is_message(text: str) -> bool:
    return len(text.split()) >= MESSAGE_WORDS


def _strings(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield the strings of a module, but not the strings within f-strings."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str)
        ):
            yield node
        else:
            yield from _strings(node)


def _source(lines: list[bytes], node: ast.expr) -> str:
    """Return the source of a node. Columns are offsets in bytes, and the end of a parsed node is known."""
    last = node.end_lineno or node.lineno
    found = lines[node.lineno - 1 : last]
    found[-1] = found[-1][: node.end_col_offset]
    found[0] = found[0][node.col_offset :]
    return b"".join(found).decode()


def _python(text: str) -> Iterator[tuple[int, str]]:
    # Since Python 3.12, the tokens of an f-string are not STRING tokens. Its syntax tree is the same in all versions.
    lines = text.encode().splitlines(keepends=True)
    strings = [(node.lineno, _source(lines, node)) for node in _strings(ast.parse(text))]
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, column = token.start
        if comments and not token.line[:column].strip():
            first, comment = comments[-1]
            if line == first + comment.count("\n") + 1:
                comments[-1] = first, f"{comment}\n{token.string}"
                continue
        comments.append((line, token.string))
    yield from sorted(comments + [found for found in strings if _is_message(found[1])])


def _markdown(text: str) -> Iterator[tuple[int, str]]:
    yield 1, MARKDOWN_CODE.sub(_blank, text)


def _template(text: str) -> Iterator[tuple[int, str]]:
    yield 1, TEMPLATE_CODE.sub(_blank, text)


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, str]]:
    for match in pattern.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match[0]


def _c(text: str) -> Iterator[tuple[int, str]]:
    yield from _matches(C_PROSE, text)


def _without_names(pattern: re.Pattern[str]) -> Callable[[str], Iterator[tuple[int, str]]]:
    def read(text: str) -> Iterator[tuple[int, str]]:
        for line, found in _matches(pattern, text):
            if found[0] not in "\"'`" or _is_message(found):
                yield line, found

    return read


_hash = _without_names(HASH_PROSE)
#: The functions that yield the passages of a file, by its name or by the end of its name.
READERS: dict[str, Callable[[str], Iterator[tuple[int, str]]]] = {
    ".md": _markdown,
    ".py": _python,
    **dict.fromkeys((".c", ".h"), _c),
    **dict.fromkeys((".js", ".css"), _without_names(SCRIPT_PROSE)),
    ".toml": _without_names(TOML_PROSE),
    ".j2": _template,
    **dict.fromkeys((".sh", ".config", ".conf", ".ini", ".yml"), _hash),
    **dict.fromkeys(("Makefile", "Kbuild", ".gitignore", ".checkpatch.conf", "run"), _hash),
}


def has_prose(path: Path) -> bool:
    """Return true if the check reads files of this name."""
    return path.name in READERS or path.suffix in READERS


def passages(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield the passages of prose in a file, each with the number of its first line.

    Args:
        path: The path of the file, whose name determines its type (READERS). Files of other types have no prose.
        text: The content of the file.

    Raises:
        SyntaxError: The file is not valid Python.
    """
    if not has_prose(path):
        return
    for line, passage in (READERS.get(path.name) or READERS[path.suffix])(text):
        yield line, ESCAPED_BLANK.sub("  ", passage)


def check(paths: Iterable[Path], rules: Iterable[Rule]) -> Iterator[Finding]:
    """Yield the words to avoid in files.

    Args:
        paths: The paths of the files.
        rules: The rules.

    Raises:
        OSError: A file cannot be read.
    """
    for path in paths:
        if not has_prose(path):
            continue
        for first, passage in passages(path, path.read_text()):
            for rule in rules:
                if path in rule.exceptions:
                    continue
                for match in rule.pattern.finditer(passage):
                    line = first + passage.count("\n", 0, match.start())
                    yield Finding(path, line, match[0], rule.instead)


def main() -> int:
    """Check all files that git tracks, print the findings, and return 1 if there are any."""
    listed = subprocess.run(["git", "ls-files", "-z"], text=True, capture_output=True, check=True)
    names = [Path(name) for name in listed.stdout.split("\0") if name]
    # The list has the targets of links, too, and files that are deleted but not committed. RULES has the words.
    files = [
        path
        for path in names
        if path.is_file() and not path.is_symlink() and path.resolve() != RULES
    ]
    findings = list(check(files, load()))
    for finding in findings:
        print(finding)
    return int(bool(findings))


if __name__ == "__main__":
    raise SystemExit(main())
