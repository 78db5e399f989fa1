"""Play a lesson to record its output, or to compare the output with the page."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ksmlab.lessons.session import Exchange, strip_ends
from ksmlab.lessons.source import LessonError, Step
from ksmlab.lessons.varying import Same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ksmlab.lessons.source import Lesson, Stage
    from ksmlab.lessons.terminal import Terminal


def record(lesson: Lesson, stage: Stage, terminal: Terminal) -> list[tuple[Exchange, ...]]:
    """Play a stage of a lesson to its end, and return the exchanges of each step.

    Raises:
        LessonError: A step did not end, or its templates do not match its own output.
    """
    steps: list[tuple[Exchange, ...]] = []
    for step in stage.steps:
        exchanges = terminal.play(step)
        compare(lesson, step, exchanges, exchanges)
        steps.append(exchanges)
    return steps


def check(lesson: Lesson, stage: Stage, terminal: Terminal) -> None:
    """Play a stage of a lesson, and compare the output of each line with the page.

    Raises:
        LessonError: An output differs; the text has the first difference.
    """
    for step in stage.steps:
        compare(lesson, step, step.exchanges, terminal.play(step))


def compare(
    lesson: Lesson, step: Step, expected: Sequence[Exchange], got: Sequence[Exchange]
) -> None:
    """Compare the output of a step with the recorded one.

    Raises:
        LessonError: The outputs differ in a part that the step does not declare as varying.
    """
    same = Same(step.varies)
    for wanted, there in zip(expected, got, strict=True):
        if wanted.prompt == there.prompt and same(
            strip_ends(wanted.output), strip_ends(there.output)
        ):
            continue
        differences = difflib.unified_diff(
            wanted.text.splitlines(), there.text.splitlines(), "expected", "got", lineterm="", n=99
        )
        raise LessonError(
            f"{lesson.where(step)}, typed {wanted.typed!r}: the output differs from the page.\n"
            + "\n".join(differences)
            + f"\nIf the new output is correct, record it:  make lessons-record N={lesson.number}\n"
            + "If a part of it differs from run to run, declare the part with `varies:` in the marker of the step."
        )
