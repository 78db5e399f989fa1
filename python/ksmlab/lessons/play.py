"""Play a lesson: to a reader who presses a key before each step, to the record, or to compare it with that."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ksmlab.lessons import recorded
from ksmlab.lessons.recorded import Exchange, Recorded
from ksmlab.lessons.source import LessonError, Step
from ksmlab.lessons.varying import Same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ksmlab.lessons.source import Lesson
    from ksmlab.lessons.terminal import Terminal
    from ksmlab.vm.machine import Machine


def record(lesson: Lesson, terminal: Terminal, machine: Machine, release: str) -> Recorded:
    """Play a lesson to its end, and give what came back.

    Args:
        lesson: Which.
        terminal: Its shell.
        machine: The VM that the shell is in.
        release: What `uname -r` says there.
    """
    how = "KVM" if machine.accel.kvm else "emulation"
    steps: list[tuple[Exchange, ...]] = []
    for step in lesson.steps:
        exchanges = terminal.play(step)
        # What is not the same as itself could never be found the same again.
        compare(lesson, step, exchanges, exchanges)
        steps.append(exchanges)
    return Recorded(release, how, tuple(steps))


def check(lesson: Lesson, terminal: Terminal) -> None:
    """Play a lesson, and compare each line's output with what is recorded.

    Raises:
        LessonError: The first that differs: lesson, step, expected and got.
    """
    record_of_it = recorded.load(lesson)
    for step, expected in zip(lesson.steps, record_of_it.steps, strict=True):
        compare(lesson, step, expected, terminal.play(step))


def compare(
    lesson: Lesson, step: Step, expected: Sequence[Exchange], got: Sequence[Exchange]
) -> None:
    """Compare what a step gave with what is recorded of it.

    Raises:
        LessonError: They differ in more than what varies.
    """
    same = Same(step.varies)
    for wanted, there in zip(expected, got, strict=True):
        if wanted.prompt == there.prompt and same(wanted.output, there.output):
            continue
        differences = difflib.unified_diff(
            wanted.text.splitlines(), there.text.splitlines(), "expected", "got", lineterm="", n=99
        )
        raise LessonError(
            f"{lesson.where(step)}, typed {wanted.typed!r}: something else came back.\n"
            + "\n".join(differences)
            + "\nIf it is right as it is now: make lessons-record "
            + f"N={lesson.number}. If only parts of it vary, say so with :varies: in the step."
        )
