"""The indexes of kernel/, compiled for the host with sanitizers, as a program that is spoken to by lines.

See program.c for the language, and for what stands in for the kernel. A program of its own, not a
library in this process: what a sanitizer finds ends it, and is read from its standard error.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
KERNEL = HERE.parents[1] / "kernel"
#: The name of each implementation, and its file in kernel/.
INDEXES = {"tree": "index_tree.c", "hash": "index_hash.c"}
CONTENT_BYTES = 16

FLAGS = (
    *("-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
)
SECONDS = 120


def build(target: Path, sources: Path = KERNEL) -> Path:
    """Compile every index with the program around it.

    Args:
        target: the program to make.
        sources: where index.h and the implementations are.

    Raises:
        AssertionError: it does not compile; the text is the compiler's.
    """
    files = [HERE / "program.c", HERE / "rbtree.c", *(sources / name for name in INDEXES.values())]
    command = ["gcc", *FLAGS, f"-I{HERE / 'include'}", f"-I{sources}", "-o", str(target)]
    done = subprocess.run(
        [*command, *map(str, files)], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    return target


@dataclass(frozen=True)
class Answer:
    """What one command gave.

    Attributes:
        words: what was found: page numbers, or a word.
        dropped: the pages that the index has dropped meanwhile.
    """

    words: tuple[str, ...]
    dropped: tuple[int, ...]

    @property
    def page(self) -> int | None:
        """The page that was found, if one was."""
        (word,) = self.words
        return None if word == "none" else int(word)

    @property
    def pages(self) -> list[int]:
        """The pages of a walk, in its order."""
        return [int(word) for word in self.words]


class IndexProgram(Closing):
    """One index, in a process of its own. It ends with the with statement."""

    def __init__(self, program: Path, name: str) -> None:
        """Start it.

        Args:
            program: from build().
            name: the implementation, one of INDEXES.
        """
        self._process = subprocess.Popen(
            [str(program), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str, *arguments: object) -> Answer:
        """Give one command.

        Raises:
            AssertionError: the program has ended instead of answering; the text is its complaint.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(" ".join([command, *map(str, arguments)]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._lost(command)
        line = self._process.stdout.readline()
        if "dropped" not in line:
            self._lost(command)
        found, _, dropped = line.partition("dropped")
        return Answer(tuple(found.split()), tuple(map(int, dropped.split())))

    def _lost(self, command: str) -> None:
        assert self._process.stderr is not None
        said = self._process.stderr.read()
        raise AssertionError(f"the index did not survive {command!r}:\n{said}")

    def finish(self) -> None:
        """End it, and hear what it has lost on the way.

        Raises:
            AssertionError: memory was lost, or something else is amiss.
        """
        _, said = self._process.communicate(timeout=SECONDS)
        assert (self._process.returncode, said) == (0, "")

    def close(self) -> None:
        """End it, however it stands; a second call does nothing."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed:
                # What was never written is not missed.
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


def hexadecimal(content: Sequence[int]) -> str:
    """Write the beginning of a page as program.c reads it; the rest is zeros."""
    return bytes(content).ljust(CONTENT_BYTES, b"\0").hex()
