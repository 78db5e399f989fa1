"""Parse and format sessions at a terminal, as pages show them: prompts, typed lines, and output.

    vm:~# uname -s
    Linux
    vm:~# python
    >>> 1 + 1
    2

A line that begins with a prompt was typed. All other lines are output of the last typed line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The prompts of the shell and of Python, for the first and for further lines of a command. After a prompt without
#: text, only Enter was typed.
PROMPT = re.compile(r"(?P<prompt>vm:\S*#|>>>|\.\.\.|>)(?: (?P<typed>.*))?")
OF_PYTHON = (">>> ", "... ")


class SessionError(ValueError):
    """A text is not a session, or an output cannot be part of one."""


@dataclass(frozen=True)
class Exchange:
    """One typed line.

    Attributes:
        prompt: The prompt before the line.
        typed: The line, without its newline.
        output: The output up to the next prompt. Each of its lines ends with a newline.
    """

    prompt: str
    typed: str
    output: str

    @property
    def text(self) -> str:
        """The exchange as a page shows it."""
        return f"{(self.prompt + self.typed).rstrip()}\n{self.output}"


def parse(text: str) -> tuple[Exchange, ...]:
    """Parse a session.

    Raises:
        SessionError: The first line has no prompt.
    """
    found: list[Exchange] = []
    for line in text.splitlines():
        if match := PROMPT.fullmatch(line):
            found.append(Exchange(f"{match['prompt']} ", match["typed"] or "", ""))
        elif found:
            last = found.pop()
            found.append(Exchange(last.prompt, last.typed, f"{last.output}{line}\n"))
        else:
            raise SessionError(f"the first line has no prompt: {line!r}")
    return tuple(found)


def render(exchanges: Iterable[Exchange]) -> str:
    """Return a session as text, without trailing blanks.

    Raises:
        SessionError: A line of the output looks like a prompt, or the last line of an output does not end with a
            newline.
    """
    exchanges = [Exchange(each.prompt, each.typed, strip_ends(each.output)) for each in exchanges]
    text = "".join(each.text for each in exchanges)
    for wanted, got in zip(exchanges, parse(text), strict=False):
        if wanted != got:
            raise SessionError(
                f"the output of {wanted.typed!r} has a line that looks like a prompt, or does not end with a newline: "
                f"{wanted.output!r}"
            )
    return text


def strip_ends(output: str) -> str:
    """Remove trailing blanks from all lines."""
    return re.sub(r"[ \t]+$", "", output, flags=re.MULTILINE)


def language(exchanges: Iterable[Exchange]) -> str:
    """Return the language of a session, for a fenced block: "pycon" for Python, otherwise "console"."""
    return "pycon" if all(each.prompt in OF_PYTHON for each in exchanges) else "console"
