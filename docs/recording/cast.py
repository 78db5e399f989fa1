"""Recordings of a terminal, in the format of asciinema (asciicast v2): a header, then a line for each piece of output.

Source: https://docs.asciinema.org/manual/asciicast/v2/
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import pexpect

from ksmlab.vm.failures import cause

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

VERSION = 2
#: Characters of what a command said that are shown when it has failed.
SAID = 2000


class RecordingError(RuntimeError):
    """A command could not be recorded, or what was recorded cannot be read."""


@dataclass(frozen=True)
class Cast:
    """A recording.

    Attributes:
        width: columns of the terminal.
        height: its rows.
        title: the command.
        pieces: seconds since the start, and what was printed then.
    """

    width: int
    height: int
    title: str
    pieces: tuple[tuple[float, str], ...]

    def write(self, path: Path) -> None:
        """Store it."""
        head = {"version": VERSION, "width": self.width, "height": self.height, "title": self.title}
        lines = [json.dumps(head)]
        lines += [json.dumps([round(seconds, 3), "o", text]) for seconds, text in self.pieces]
        path.write_text("\n".join(lines) + "\n")

    def since(self, pattern: str) -> Self:
        """Drop everything that was printed before the first match of a pattern.

        Args:
            pattern: a regular expression, which may match across lines and pieces. What it matches is kept.

        Raises:
            RecordingError: nothing that was printed matches.
        """
        found = re.search(pattern, "".join(text for _, text in self.pieces))
        if found is None:
            raise RecordingError(
                f"`{self.title}` printed nothing that matches {pattern!r}. Nothing was drawn"
            )
        kept: list[tuple[float, str]] = []
        left = found.start()
        for seconds, text in self.pieces:
            if left < len(text):
                kept.append((seconds, text[left:]))
            left = max(0, left - len(text))
        start = kept[0][0]
        return replace(self, pieces=tuple((seconds - start, text) for seconds, text in kept))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what write() stored.

        Raises:
            RecordingError: it is no such recording.
        """
        try:
            head, *rest = (json.loads(line) for line in path.read_text().splitlines())
            if head["version"] != VERSION:
                raise RecordingError(
                    f"{path} is of version {head['version']}, not {VERSION}. Nothing was drawn"
                )
            pieces = tuple((float(at), text) for at, kind, text in rest if kind == "o")
            return cls(head["width"], head["height"], head.get("title", ""), pieces)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordingError(
                f"A recording cannot be read from {path}: {cause(error)}. Nothing was drawn. Next: record it again"
            ) from None


def record(command: Sequence[str], width: int, height: int, deadline: float) -> Cast:
    """Run a command on a terminal of its own, and keep what it prints.

    Args:
        command: the command and its arguments.
        width: columns.
        height: rows.
        deadline: seconds that it may take.

    Raises:
        RecordingError: it fails, or takes too long; nothing is stored.
    """
    start = time.monotonic()
    pieces: list[tuple[float, str]] = []
    name = " ".join(command)
    child = pexpect.spawn(
        command[0],
        list(command[1:]),
        dimensions=(height, width),
        encoding="utf-8",
        timeout=deadline,
    )
    with child:
        while True:
            left = start + deadline - time.monotonic()
            try:
                text = child.read_nonblocking(65536, timeout=max(0.0, left))
            except pexpect.EOF:
                break
            except pexpect.TIMEOUT:
                raise RecordingError(
                    f"`{name}` was still running after {deadline:.0f} s and has been ended. Nothing is stored"
                ) from None
            pieces.append((time.monotonic() - start, text))
    if child.exitstatus:
        said = "".join(text for _, text in pieces)[-SAID:]
        raise RecordingError(
            f"`{name}` failed (status {child.exitstatus}). Nothing is stored. It said:\n{said}"
        )
    return Cast(width, height, name, tuple(pieces))
