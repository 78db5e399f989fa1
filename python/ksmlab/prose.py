"""Find words in pages, comments, docstrings and messages that the project does not use."""

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
#: Code and comments in a page. They are replaced by blanks, except for newlines, so that line numbers do not change.
MARKDOWN_CODE = re.compile(
    r"^(`{3,}).*?^\1|^ {4,}\S[^\n]*|<!--.*?-->|`[^`\n]+`|\]\([^)\n]*\)", re.MULTILINE | re.DOTALL
)
C_PROSE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"', re.DOTALL)
MAKE_PROSE = re.compile(r"#[^\n]*")
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
    """Yield the passages of prose in a file, each with the number of its first line.

    Args:
        path: The path of the file, whose name determines its type: Markdown, C, Python or a makefile. Other files have
            no prose.
        text: The content of the file.
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
    """Yield the words to avoid in files.

    Args:
        paths: The paths of the files.
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
    """Check all files that git tracks, print the findings, and return 1 if there are any."""
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
