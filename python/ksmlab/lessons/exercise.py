"""Copy, build and test the exercises of lessons.

    docs/lessons/exercises/02/skeleton/    incomplete files, which the reader completes
                              answer/      the completed files
                              test_*.py    tests, which fail with the skeleton and pass with the answer
                              driver.toml  optional: parts to remove from a copy of the driver, and the tests to run

Other files in the directory are used by the tests. A C file with a main() is compiled to a program of the same name;
other C files are compiled to shared objects, which the tests load. The tests run on the host, except for tests of the
driver, which run in a VM.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.lessons.patch import patch
from ksmlab.lessons.source import LESSONS, LessonError
from ksmlab.vm.build import mirror

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EXERCISES = LESSONS / "exercises"
TEST_SECONDS = 300
# Without this file, pytest would use the settings of this repository for the reader's directory.
SETTINGS = "[pytest]\naddopts = -q -p no:hypothesispytest -p no:anyio -p no:cacheprovider\n"
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
        """The directory with the incomplete files."""
        return self.directory / "skeleton"

    @property
    def answer(self) -> Path:
        """The directory with the completed files."""
        return self.directory / "answer"

    @property
    def driver(self) -> Path | None:
        """The file that lists the parts to remove from the driver, and the tests; None if there is none."""
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
        LessonError: The lesson has no exercise.
    """
    known = read_all(directory)
    if number not in known:
        raise LessonError(
            f"Lesson {number} has no exercise to copy. These lessons have one: {', '.join(map(str, known))}."
        )
    return known[number]


def copy(source: Path, exercise: Exercise, target: Path) -> list[Path]:
    """Copy an exercise to the reader's directory. The reader's own files are kept, and the tests are replaced.

    Args:
        source: The skeleton or the answer of the exercise.
        exercise: The exercise.
        target: The reader's directory.

    Returns:
        The files of `source` that were copied, because the reader did not have them yet.
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

    Raises:
        LessonError: A file does not compile; the text has the compiler's messages.
    """
    for path in sorted(target.glob("*.c")):
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
    """Copy the driver to the reader's directory and remove parts of it, unless there is a copy.

    Args:
        exercise: An exercise with a driver.
        checkout: The checkout with the driver's sources.
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


def driver_kernel(exercise: Exercise) -> str:
    """Return the name of the kernel on which the driver of an exercise is tested."""
    assert exercise.driver is not None
    return str(tomllib.loads(exercise.driver.read_text())["kernel"])


def run_driver_tests(
    exercise: Exercise, checkout: Path, target: Path, kernel: str | None = None
) -> int:
    """Build the reader's driver, and run the tests of the removed part in a VM.

    Args:
        exercise: An exercise with a driver.
        checkout: The checkout with the tests.
        target: The reader's directory.
        kernel: The name of the kernel to use instead of the exercise's own.

    Returns:
        The exit status of pytest.
    """
    assert exercise.driver is not None
    wanted = tomllib.loads(exercise.driver.read_text())
    command = [sys.executable, "-m", "pytest", "--tb=short", "-p", "no:cacheprovider"]
    command += [*wanted["tests"], "--kernel", kernel or wanted["kernel"]]
    command += ["-o", f"vm_modules={target / 'kernel'}", "-o", f"vm_build={target / 'built'}"]
    # Remove the variables that an outer pytest has set.
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return subprocess.run(command, cwd=checkout, env=env, check=False).returncode


def run_tests(target: Path, arguments: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run the tests of an exercise, and return the status and the output of pytest.

    Args:
        target: The reader's directory.
        arguments: More arguments for pytest.
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
