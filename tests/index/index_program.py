"""Run the indexes of kernel/ in user space: a program, compiled with sanitizers, that reads commands from its input.

program.c describes the commands, and replaces the functions of the kernel. The indexes run in a separate process, not
in a library of this one, since a sanitizer ends the process when it finds an error. Its report is read from standard
error.
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
    """Compile the program with all indexes.

    Args:
        target: The program to write.
        sources: The directory with index.h and the implementations.

    Raises:
        AssertionError: The sources do not compile; the text has the compiler's messages.
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
    """The answer to a command.

    Attributes:
        words: The result: page numbers, or a word such as "none".
        asked: The number of comparisons that the index has made during the command.
        asked_at_drop: The number of those before the last page was dropped; 0 if none was dropped.
        dropped: The pages that the index has dropped during the command.
    """

    words: tuple[str, ...]
    asked: int
    asked_at_drop: int
    dropped: tuple[int, ...]

    @property
    def page(self) -> int | None:
        """The page that was found, or None."""
        (word,) = self.words
        return None if word == "none" else int(word)

    @property
    def pages(self) -> list[int]:
        """The pages of a walk, in order."""
        return [int(word) for word in self.words]


class IndexProgram(Closing):
    """An index in a separate process, which ends at the end of the with statement."""

    def __init__(self, program: Path, name: str) -> None:
        """Start the process.

        Args:
            program: The program, made by build().
            name: The implementation, one of INDEXES.
        """
        self._process = subprocess.Popen(
            [str(program), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str, *arguments: object) -> Answer:
        """Send a command, and return its answer.

        Raises:
            AssertionError: The program has ended instead of answering; the text has its error output.
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
        *words, _, asked, at_drop = found.split()
        return Answer(tuple(words), int(asked), int(at_drop), tuple(map(int, dropped.split())))

    def _lost(self, command: str) -> None:
        assert self._process.stderr is not None
        said = self._process.stderr.read()
        raise AssertionError(f"the index program ended during the command {command!r}:\n{said}")

    def finish(self) -> None:
        """Let the program end, and check that the sanitizers have reported nothing.

        Raises:
            AssertionError: Memory was leaked, or the program failed otherwise.
        """
        _, said = self._process.communicate(timeout=SECONDS)
        assert (self._process.returncode, said) == (0, "")

    def close(self) -> None:
        """Kill the program if it still runs. A second call does nothing."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed:
                # Ignore buffered input that the program has not read.
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


def hexadecimal(content: Sequence[int]) -> str:
    """Return the content of a page in the notation of program.c, padded with zeros."""
    return bytes(content).ljust(CONTENT_BYTES, b"\0").hex()
