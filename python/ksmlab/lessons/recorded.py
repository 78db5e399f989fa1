"""What came back when a lesson was played: recorded/NN-name.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.lessons.source import LessonError

if TYPE_CHECKING:
    from ksmlab.lessons.source import Lesson


@dataclass(frozen=True)
class Exchange:
    """One line typed.

    Attributes:
        prompt: What stood before it.
        typed: The line, without its end.
        output: What came back before the next prompt, lines ended by a newline.
    """

    prompt: str
    typed: str
    output: str

    @property
    def text(self) -> str:
        """It as the terminal showed it."""
        return f"{self.prompt}{self.typed}\n{self.output}"


@dataclass(frozen=True)
class Recorded:
    """A lesson as it was played.

    Attributes:
        release: What `uname -r` said.
        how: How the CPU was run: KVM, or emulation.
        steps: The exchanges of each step.
    """

    release: str
    how: str
    steps: tuple[tuple[Exchange, ...], ...]


def save(lesson: Lesson, recorded: Recorded) -> None:
    """Write a record; it is made so that a change of the output is a small difference of the file."""
    lesson.record.parent.mkdir(exist_ok=True)
    data = {
        "release": recorded.release,
        "how": recorded.how,
        "steps": [
            [
                {
                    "prompt": exchange.prompt,
                    "typed": exchange.typed,
                    "output": exchange.output.split("\n"),
                }
                for exchange in step
            ]
            for step in recorded.steps
        ],
    }
    lesson.record.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def load(lesson: Lesson) -> Recorded:
    """Read the record of a lesson; of a draft, only what is typed.

    Raises:
        LessonError: There is none, or it is of another version of the lesson.
    """
    if lesson.draft:
        only_typed = tuple(
            tuple(Exchange("", line, "") for line in step.typed) for step in lesson.steps
        )
        return Recorded("", "", only_typed)
    again = f"Record it again: make lessons-record N={lesson.number}"
    try:
        data = json.loads(lesson.record.read_text())
    except FileNotFoundError:
        raise LessonError(f"Lesson {lesson.number} has not been recorded. {again}") from None
    steps = tuple(
        tuple(
            Exchange(each["prompt"], each["typed"], "\n".join(each["output"])) for each in exchanges
        )
        for exchanges in data["steps"]
    )
    for number, step in enumerate(lesson.steps):
        typed = tuple(each.typed for each in steps[number]) if number < len(steps) else ()
        if typed != step.typed:
            raise LessonError(
                f"{lesson.where(step)} was another when it was recorded: "
                f"{list(typed)} then, {list(step.typed)} now. {again}"
            )
    if len(steps) != len(lesson.steps):
        raise LessonError(f"Lesson {lesson.number} had more steps when it was recorded. {again}")
    return Recorded(data["release"], data["how"], steps)
