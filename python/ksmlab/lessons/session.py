"""A session at a terminal, as a page has it: prompts, typed lines, and their output.

    vm:~# uname -s
    Linux
    vm:~# python
    >>> 1 + 1
    2

A line that begins with a prompt was typed. Every other line is output of the last typed one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The shell, its prompt for the rest of a command, and the same of Python. After a bare prompt, Enter alone was typed.
PROMPT = re.compile(r"(?P<prompt>vm:\S*#|>>>|\.\.\.|>)(?: (?P<typed>.*))?")
OF_PYTHON = (">>> ", "... ")


class SessionError(ValueError):
    """A text is not a session, or an output cannot be shown in one."""


@dataclass(frozen=True)
class Exchange:
    """One typed line.

    Attributes:
        prompt: The prompt before it.
        typed: The line, without its end.
        output: The output up to the next prompt, each line ended by a newline.
    """

    prompt: str
    typed: str
    output: str

    @property
    def text(self) -> str:
        """The exchange as a page shows it."""
        return f"{(self.prompt + self.typed).rstrip()}\n{self.output}"


def parse(text: str) -> tuple[Exchange, ...]:
    """Read a session.

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
    """Write a session, without blanks at the ends of lines.

    Raises:
        SessionError: A line of the output begins like a prompt, or the last one is not ended.
    """
    exchanges = [Exchange(each.prompt, each.typed, strip_ends(each.output)) for each in exchanges]
    text = "".join(each.text for each in exchanges)
    for wanted, got in zip(exchanges, parse(text), strict=False):
        if wanted != got:
            raise SessionError(
                f"the output of {wanted.typed!r} has a line that looks like a prompt, or its last line is not ended: "
                f"{wanted.output!r}"
            )
    return text


def strip_ends(output: str) -> str:
    """Remove the blanks at the ends of lines."""
    return re.sub(r"[ \t]+$", "", output, flags=re.MULTILINE)


def language(exchanges: Iterable[Exchange]) -> str:
    """Return the name that viewers of Markdown have for the language of a session."""
    return "pycon" if all(each.prompt in OF_PYTHON for each in exchanges) else "console"
