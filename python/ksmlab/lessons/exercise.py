"""Exercises: a skeleton that the reader completes, its tests, and a worked answer.

    docs/lessons/exercises/02/skeleton/    the files that the reader completes
                              answer/      the same files, complete
                              test_*.py    the tests; any other file is one that the tests need
                              driver.toml  optional: a driver in which a part is missing, and its tests

A C file with a main() is compiled to a program, any other to a shared object, which the tests load. The tests run on
the host; those of a driver run in a VM (driver_tests.py).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.lessons.patch import patch
from ksmlab.lessons.source import LESSONS, LessonError
from ksmlab.vm.build import MADE_BY_KBUILD, mirror

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EXERCISES = LESSONS / "exercises"
TEST_SECONDS = 120
#: The beginning of the comment in the place of a part that the reader writes.
MARK = "/* Your part"
#: pytest.ini of the reader's directory. feedback.py prints the results; the other plugins are not needed.
SETTINGS = (
    "[pytest]\naddopts = --assert=plain -p no:terminal -p ksmlab.lessons.feedback -p no:ksmlab "
    "-p no:hypothesispytest -p no:anyio -p no:cacheprovider\n"
)
COMPILE = ("gcc", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror")
LIBRARY = ("-shared", "-fPIC")
MAIN = re.compile(r"^int main\(", re.MULTILINE)


@dataclass(frozen=True)
class Exercise:
    """An exercise.

    Attributes:
        number: The number of its lesson.
        directory: Its directory in docs/lessons/exercises.
    """

    number: int
    directory: Path

    @property
    def skeleton(self) -> Path:
        """The directory with the files that the reader completes."""
        return self.directory / "skeleton"

    @property
    def answer(self) -> Path:
        """The directory with the complete files."""
        return self.directory / "answer"

    @property
    def driver(self) -> Path | None:
        """The file with the edits that leave a part out of the driver, and its tests; None if there is no such step."""
        path = self.directory / "driver.toml"
        return path if path.is_file() else None


def read_all(directory: Path = EXERCISES) -> dict[int, Exercise]:
    """Return all exercises, by the number of their lesson."""
    return {
        int(path.name): Exercise(int(path.name), path)
        for path in sorted(directory.glob("[0-9][0-9]"))
    }


def find(number: int, directory: Path = EXERCISES) -> Exercise:
    """Return the exercise of a lesson.

    Raises:
        LessonError: The lesson has none.
    """
    known = read_all(directory)
    if number not in known:
        raise LessonError(
            f"Lesson {number} has no exercise to copy. These lessons have one: {', '.join(map(str, known))}."
        )
    return known[number]


def copy(source: Path, exercise: Exercise, target: Path) -> list[Path]:
    """Copy an exercise to the reader's directory. Files that the reader has are kept; the tests are replaced.

    Args:
        source: The skeleton or the answer of the exercise.
        exercise: The exercise.
        target: The reader's directory.

    Returns:
        The new files of the skeleton; none if the reader has all of them already.
    """
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for path in sorted(source.iterdir()):
        there = target / path.name
        if not there.exists():
            shutil.copy(path, there)
            written.append(there)
    for path in exercise.directory.iterdir():
        if path.is_file() and path != exercise.driver:
            shutil.copy(path, target / path.name)
    (target / "pytest.ini").write_text(SETTINGS)
    return written


def build(target: Path) -> None:
    """Compile each C file to a program or a shared object of the same name.

    The reader may have built a kernel module in the directory. The C files that kbuild wrote for it are left out.

    Raises:
        LessonError: A file does not compile; the message has the compiler's output.
    """
    for path in sorted(target.glob("*.c")):
        if path.name.endswith(MADE_BY_KBUILD):
            continue
        program = MAIN.search(path.read_text()) is not None
        kind, made = ((), path.with_suffix("")) if program else (LIBRARY, path.with_suffix(".so"))
        done = subprocess.run(
            [*COMPILE, *kind, "-o", made, path],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LessonError(f"{path.name} does not compile:\n{done.stderr}")


def copy_driver(exercise: Exercise, checkout: Path, target: Path) -> Path:
    """Copy the driver without the part that the reader writes. If the reader has a copy already, it is kept.

    Args:
        exercise: An exercise with a driver.
        checkout: The directory that contains the driver's sources, kernel/.
        target: The reader's directory.

    Returns:
        The directory of the copy.

    Raises:
        VmError: An edit does not match the sources any more.
    """
    assert exercise.driver is not None
    sources = target / "kernel"
    if not sources.exists():
        fresh = target / "kernel.new"
        shutil.rmtree(fresh, ignore_errors=True)
        mirror(checkout / "kernel", fresh)
        patch(fresh, exercise.driver)
        fresh.rename(sources)
    return sources


def readers_files(sources: Path) -> list[Path]:
    """Return the files of a fresh copy of the driver in which the reader has to write a part."""
    return [path for path in sorted(sources.glob("*.[ch]")) if MARK in path.read_text()]


def driver_kernel(exercise: Exercise) -> str:
    """Return the name of the kernel on which an exercise's driver is tested."""
    assert exercise.driver is not None
    return str(tomllib.loads(exercise.driver.read_text())["kernel"])


def run_tests(target: Path, arguments: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run the tests of an exercise, and return pytest's status and the feedback that it printed.

    Args:
        target: The reader's directory.
        arguments: More arguments for pytest.

    Raises:
        LessonError: The tests did not end in time.
    """
    command = [sys.executable, "-B", "-m", "pytest", "-c", str(target / "pytest.ini")]
    command += [*arguments, str(target)]
    try:
        return subprocess.run(
            command, cwd=target, capture_output=True, text=True, timeout=TEST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise LessonError(
            f"The tests did not end within {TEST_SECONDS} seconds. Your code probably has an endless loop."
        ) from None
