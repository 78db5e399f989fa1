"""Find words in pages, comments, docstrings and messages that the project's prose does not use."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RULES = Path(__file__).with_name("prose.toml")
#: Code in a page, and comments that no viewer shows. Newlines inside stay, so that line numbers are right.
MARKDOWN_CODE = re.compile(
    r"^(`{3,}).*?^\1|^ {4,}\S[^\n]*|<!--.*?-->|`[^`\n]+`|\]\([^)\n]*\)", re.MULTILINE | re.DOTALL
)
C_PROSE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"', re.DOTALL)
MAKE_PROSE = re.compile(r"#[^\n]*")
#: A string of fewer words is a name or an option.
MESSAGE_WORDS = 3


@dataclass(frozen=True)
class Rule:
    """Words, and what to write in their place.

    Attributes:
        pattern: Matches any of the words.
        instead: The words to use.
        exceptions: Files that may have the words.
    """

    pattern: re.Pattern[str]
    instead: str
    exceptions: frozenset[Path] = frozenset()


@dataclass(frozen=True)
class Finding:
    """A word in a file.

    Attributes:
        path: The file.
        line: The number of the line, from 1.
        word: The word as it is written there.
        instead: The words to use.
    """

    path: Path
    line: int
    word: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r}; instead: {self.instead}"


def load(path: Path = RULES) -> tuple[Rule, ...]:
    """Read the rules.

    Raises:
        OSError: The file cannot be read.
        KeyError: A rule has no words, or nothing to use in their place.
        re.error: A word is no regular expression.
    """
    entries = tomllib.loads(path.read_text())["rule"]
    return tuple(
        Rule(
            re.compile(rf"\b(?:{'|'.join(one['words'])})\b", re.IGNORECASE),
            one["instead"],
            frozenset(map(Path, one.get("exceptions", ()))),
        )
        for one in entries
    )


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _python(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        comment = token.type == tokenize.COMMENT
        if comment or (
            token.type == tokenize.STRING and len(token.string.split()) >= MESSAGE_WORDS
        ):
            yield token.start[0], token.string


def passages(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield the prose of a file: each passage, and the number of its first line.

    Args:
        path: Its name says what kind of file it is: Markdown, C, Python or a makefile. Others have no prose.
        text: Its text.
    """
    if path.suffix == ".md":
        yield 1, MARKDOWN_CODE.sub(_blank, text)
    elif path.suffix == ".py":
        yield from _python(text)
    elif path.suffix in {".c", ".h"} or path.name == "Makefile":
        prose = C_PROSE if path.suffix else MAKE_PROSE
        for match in prose.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, match[0]


def check(paths: Iterable[Path], rules: Iterable[Rule]) -> Iterator[Finding]:
    """Yield the words in files that the rules replace.

    Args:
        paths: The files.
        rules: The rules.

    Raises:
        OSError: A file cannot be read.
    """
    for path in paths:
        for first, passage in passages(path, path.read_text()):
            for rule in rules:
                if path in rule.exceptions:
                    continue
                for match in rule.pattern.finditer(passage):
                    line = first + passage.count("\n", 0, match.start())
                    yield Finding(path, line, match[0], rule.instead)


def main() -> int:
    """Check the files of the checkout that git knows, print what is found, and return 1 if there is anything."""
    suffixes = ("*.md", "*.py", "*.c", "*.h", "Makefile")
    listed = subprocess.run(
        ["git", "ls-files", "-z", *suffixes], text=True, capture_output=True, check=True
    )
    files = [Path(name) for name in listed.stdout.split("\0") if name]
    findings = list(check(files, load()))
    for finding in findings:
        print(finding)
    return int(bool(findings))


if __name__ == "__main__":
    raise SystemExit(main())
