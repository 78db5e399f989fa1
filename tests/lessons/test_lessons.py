"""Each lesson, typed at a VM's console as a reader would, has the output that is on its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ksmlab.lab import Lab
from ksmlab.lessons import play, source
from ksmlab.lessons.vm import Room
from ksmlab.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.lessons.source import Lesson

LESSONS = {number: each for number, each in source.read_all().items() if each.recorded}


@pytest.fixture(scope="session")
def room() -> Iterator[Room]:
    with Room(Lab(Progress())) as room:
        yield room


@pytest.mark.parametrize(
    "lesson", LESSONS.values(), ids=[f"lesson_{number}_" for number in LESSONS]
)
def test_output_is_that_of_the_page(room: Room, lesson: Lesson) -> None:
    for stage in lesson.stages:
        with room.lesson(lesson, stage.kernel) as (terminal, _):
            play.check(lesson, stage, terminal)
