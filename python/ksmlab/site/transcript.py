"""Highlight terminal sessions: the prompts, what was typed in the shell and in Python, and the output.

The lexers of Pygments know one interpreter each. A session here goes from the shell to Python and back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from pygments.lexer import Lexer
from pygments.lexers.python import PythonLexer
from pygments.lexers.shell import BashLexer
from pygments.token import Generic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pygments.token import _TokenType

#: The prompts of lessons (ksmlab.lessons.session), and that of a shell on the reader's machine.
PROMPT = re.compile(r"(?P<prompt>(?:vm:\S*#|>>>|\.\.\.|>|\$)(?: |$))(?P<typed>.*)")
OF_PYTHON = (">>>", "...")


class TranscriptLexer(Lexer):  # type: ignore[misc]
    """Lexes a session line by line, so that each line has elements of its own."""

    name = "Terminal session of the shell and Python"
    aliases: ClassVar[list[str]] = ["console", "pycon"]

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        """Yield the offset, the type and the text of each token."""
        shell, python = BashLexer(), PythonLexer()
        start = 0
        for line in text.splitlines(keepends=True):
            typed = PROMPT.match(line.rstrip("\n"))
            if typed:
                yield start, Generic.Prompt, typed["prompt"]
                inner = python if typed["prompt"].rstrip() in OF_PYTHON else shell
                first = start + typed.end("prompt")
                for offset, kind, piece in inner.get_tokens_unprocessed(
                    line[typed.end("prompt") :]
                ):
                    yield first + offset, kind, piece
            else:
                yield start, Generic.Output, line
            start += len(line)
