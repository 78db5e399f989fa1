"""Exercises: a skeleton that is copied out of the tree, tests that fail with it, and an answer that they pass with.

    docs/lessons/exercises/02/skeleton/   what the reader fills in
                              answer/     the same, filled in
                              test_*.py   what it has to do

C programs among the files are compiled. The tests run on the host.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.lessons.source import LESSONS, LessonError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EXERCISES = LESSONS / "exercises"
TEST_SECONDS = 300
# The reader's directory has nothing to do with the settings of this repository's own tests.
SETTINGS = "[pytest]\naddopts = -q -p no:hypothesispytest -p no:anyio -p no:cacheprovider\n"
COMPILE = ("gcc", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class Exercise:
    """One exercise, by the number of its lesson."""

    number: int
    directory: Path

    @property
    def skeleton(self) -> Path:
        """What the reader fills in."""
        return self.directory / "skeleton"

    @property
    def answer(self) -> Path:
        """The same, filled in."""
        return self.directory / "answer"


def read_all(directory: Path = EXERCISES) -> dict[int, Exercise]:
    """Give the exercises that are copied, by the number of their lesson."""
    return {
        int(path.name): Exercise(int(path.name), path)
        for path in sorted(directory.glob("[0-9][0-9]"))
    }


def find(number: int, directory: Path = EXERCISES) -> Exercise:
    """Give the exercise of a lesson.

    Raises:
        LessonError: It has none.
    """
    known = read_all(directory)
    if number not in known:
        raise LessonError(
            f"Lesson {number} has no exercise to copy. These have: {', '.join(map(str, known))}."
        )
    return known[number]


def copy(source: Path, exercise: Exercise, target: Path) -> list[Path]:
    """Copy an exercise out of the tree: what the reader has begun stays, the tests are those of the tree.

    Args:
        source: Its skeleton, or its answer.
        exercise: It.
        target: The reader's directory.

    Returns:
        What was written of the skeleton; nothing, if the reader has all of it already.
    """
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for path in sorted(source.iterdir()):
        there = target / path.name
        if not there.exists():
            shutil.copy(path, there)
            written.append(there)
    for path in exercise.directory.glob("test_*.py"):
        shutil.copy(path, target / path.name)
    (target / "pytest.ini").write_text(SETTINGS)
    return written


def build(target: Path) -> None:
    """Compile the C programs among the files, each to a program of its name.

    Raises:
        LessonError: One does not compile; the text is what the compiler said.
    """
    for path in sorted(target.glob("*.c")):
        done = subprocess.run(
            [*COMPILE, "-o", path.with_suffix(""), path],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LessonError(f"{path.name} does not compile:\n{done.stderr}")


def run_tests(target: Path, arguments: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run the tests of an exercise; give pytest's status and output.

    Args:
        target: The reader's directory.
        arguments: More for pytest.
    """
    return subprocess.run(
        [
            sys.executable,
            "-B",
            "-m",
            "pytest",
            "-c",
            str(target / "pytest.ini"),
            *arguments,
            str(target),
        ],
        cwd=target,
        capture_output=True,
        text=True,
        timeout=TEST_SECONDS,
        check=False,
    )
