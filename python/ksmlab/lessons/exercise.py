"""Exercises: a skeleton that is copied out of the tree, tests that fail with it, and an answer that they pass with.

    docs/lessons/exercises/02/skeleton/   what the reader fills in
                              answer/     the same, filled in
                              test_*.py   what it has to do; other files are what the tests need
                              driver.toml a driver with something left out, if there is one, and its tests

C files are compiled: what has a main() to a program of its name, the rest to a shared object, which the tests load. The
tests run on the host; those of a driver run in a VM.
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
# The reader's directory has nothing to do with the settings of this repository's own tests.
SETTINGS = "[pytest]\naddopts = -q -p no:hypothesispytest -p no:anyio -p no:cacheprovider\n"
COMPILE = ("gcc", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror")
LIBRARY = ("-shared", "-fPIC")
MAIN = re.compile(r"^int main\(", re.MULTILINE)


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

    @property
    def driver(self) -> Path | None:
        """What is left out of a copy of the driver, and which tests tell, if it is an exercise of this kind, too."""
        path = self.directory / "driver.toml"
        return path if path.is_file() else None


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
    for path in exercise.directory.iterdir():
        if path.is_file() and path != exercise.driver:
            shutil.copy(path, target / path.name)
    (target / "pytest.ini").write_text(SETTINGS)
    return written


def build(target: Path) -> None:
    """Compile the C files, each to a program or a shared object of its name.

    Raises:
        LessonError: One does not compile; the text is what the compiler said.
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
    """Copy the driver without what is left out of it; what the reader has begun stays.

    Args:
        exercise: One with a driver.
        checkout: Where the driver's sources are.
        target: The reader's directory.

    Returns:
        The copy.

    Raises:
        VmError: The edits do not fit the driver any more.
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
    """Give the name of the kernel that an exercise's driver is tested on."""
    assert exercise.driver is not None
    return str(tomllib.loads(exercise.driver.read_text())["kernel"])


def run_driver_tests(
    exercise: Exercise, checkout: Path, target: Path, kernel: str | None = None
) -> int:
    """Build the reader's driver, run the tests of the part that was left out in a VM, and give pytest's status.

    Args:
        exercise: One with a driver.
        checkout: Where the tests are.
        target: The reader's directory.
        kernel: The kernel to test on, instead of the exercise's own.
    """
    assert exercise.driver is not None
    wanted = tomllib.loads(exercise.driver.read_text())
    command = [sys.executable, "-m", "pytest", "--tb=short", "-p", "no:cacheprovider"]
    command += [*wanted["tests"], "--kernel", kernel or wanted["kernel"]]
    command += ["-o", f"vm_modules={target / 'kernel'}", "-o", f"vm_build={target / 'built'}"]
    # What another pytest has told its own children is not for this one.
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return subprocess.run(command, cwd=checkout, env=env, check=False).returncode


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
