"""The source of a lesson: what is typed, and what is said about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ksmlab.lessons import play, recorded, source
from ksmlab.lessons.read_along import as_text
from ksmlab.lessons.source import Inclusion, LessonError, Prose, Step

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "# 3. Title\n\n```{lesson}\n:kernel: debian-6.1\n:minutes: 5\n```\n"


def lesson(directory: Path, text: str, name: str = "03-name.md") -> source.Lesson:
    path = directory / name
    path.write_text(text)
    return source.read(path)


def test_parts_come_in_order(tmp_path: Path) -> None:
    text = (
        HEAD
        + "\nBefore.\n\n```{run}\ncat x\n\ny\n```\n\n```{excerpt} a.c f struct:g\n:comment:\n:lines: 2-3\n```\n"
        + "\n```c\nint x;\n```\n"
    )
    read = lesson(tmp_path, text)
    assert (read.number, read.title, read.kernel, read.minutes) == (3, "3. Title", "debian-6.1", 5)
    assert [type(part) for part in read.parts] == [Prose, Prose, Step, Inclusion, Prose]
    assert read.steps[0].typed == ("cat x", "", "y")
    assert read.steps[0].line == 10
    assert read.parts[3] == Inclusion("a.c", ("f", "struct g"), comment=True, lines="2-3")
    assert "int x;" in read.parts[4].text


def test_options_of_a_step(tmp_path: Path) -> None:
    text = HEAD + "```{run}\n:varies: pfn=<frame>\n:varies: <count> s\n:seconds: 7\n\n:x:\n```\n"
    step = lesson(tmp_path, text).steps[0]
    assert [each.text for each in step.varies[:2]] == ["pfn=<frame>", "<count> s"]
    assert step.seconds == 7
    assert step.typed == (":x:",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# T\n", "{lesson} block"),
        ("# T\n```{run}\nx\n```\n", "before {lesson}"),
        (HEAD + HEAD, "comes once"),
        (HEAD + "```{run}\n:colour: red\n\nx\n```\n", "03-name.md:7.*no option 'colour'"),
        (HEAD + "```{run}\n:varies: <colour>\n\nx\n```\n", "<colour> is no kind"),
        (HEAD + "```{run}\n:varies: x\n\nx\n```\n", "nothing varies"),
        (HEAD + "```{run}\n```\n", "without a line"),
        (HEAD + f"```{{run}}\n{'x' * 111}\n```\n", "longer than 110"),
        ("# T\n```{lesson}\n:kernel: x\n```\n", ":minutes:"),
        ("# T\n```{lesson}\n:kernel: x\n:minutes: 5\n:colour: red\n```\n", "no option colour"),
    ],
)
def test_errors_say_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(LessonError, match=said):
        lesson(tmp_path, text)


def test_a_name_without_a_number_is_no_lesson(tmp_path: Path) -> None:
    with pytest.raises(LessonError, match="03-seeing-memory"):
        lesson(tmp_path, HEAD, "index.md")


def test_two_lessons_of_one_number(tmp_path: Path) -> None:
    lesson(tmp_path, HEAD, "03-a.md")
    lesson(tmp_path, HEAD, "03-b.md")
    with pytest.raises(LessonError, match="one number"):
        source.read_all(tmp_path)


def test_a_record_of_another_lesson_is_refused(tmp_path: Path) -> None:
    read = lesson(tmp_path, HEAD + "```{run}\ncat x\n```\n")
    with pytest.raises(LessonError, match="has not been recorded"):
        recorded.load(read)
    exchange = recorded.Exchange("vm:~# ", "cat x", "1\n2\n")
    recorded.save(read, recorded.Recorded("6.1", "KVM", ((exchange,),)))
    assert recorded.load(read).steps == ((exchange,),)
    other = lesson(tmp_path, HEAD + "```{run}\ncat y\n```\n")
    with pytest.raises(
        LessonError, match=r"lesson 3, step 1 .*'cat x'.*'cat y'.*make lessons-record N=3"
    ):
        recorded.load(other)
    shorter = lesson(tmp_path, HEAD)
    with pytest.raises(LessonError, match="had more steps"):
        recorded.load(shorter)


def test_what_only_a_page_can_show_is_not_printed() -> None:
    text = "(lesson-1)=\nSee {ref}`lesson-2`, a {term}`page <pages>`.\n\n:::{dropdown} Answer\n42\n:::\n\nEnd."
    assert as_text(text) == "See lesson 2, a `page`.\n\n\nEnd."
    text = "It is:\n\n```{literalinclude} ../../a/b.sh\n:language: sh\n```\n\nEnd."
    assert as_text(text) == "It is:\n\n`a/b.sh`\n\nEnd."


def test_every_lesson_parses_and_is_recorded() -> None:
    lessons = source.read_all()
    assert list(lessons) == list(range(1, len(lessons) + 1))
    for each in lessons.values():
        assert each.title.startswith(f"{each.number}. ")
        assert f"(lesson-{each.number})=" in each.path.read_text()
        assert recorded.load(each).steps


def test_every_record_is_the_same_as_itself() -> None:
    for lesson in source.read_all().values():
        for step, exchanges in zip(lesson.steps, recorded.load(lesson).steps, strict=True):
            play.compare(lesson, step, exchanges, exchanges)


def test_a_draft_shows_what_is_typed(tmp_path: Path) -> None:
    text = HEAD.replace(":minutes: 5", ":minutes: 5\n:draft: yes") + "```{run}\ncat x\n```\n"
    read = lesson(tmp_path, text)
    assert read.draft
    assert recorded.load(read).steps == ((recorded.Exchange("", "cat x", ""),),)


def test_a_drawing_is_told_and_targets_are_a_table_in_the_terminal() -> None:
    told = as_text("Look:\n\n```{drawing} page-tables\n```\n\nEnd.")
    assert told.startswith("Look:\n\n> **Drawing: Page tables before and after a merge.** Before: ")
    assert told.endswith("\n\nEnd.")
    assert as_text("```{image} x.svg\n:alt: Squares\n```") == "> **Picture.** Squares"
    table = as_text("```{targets}\n:workload: writer\n```\n\nEnd.")
    assert "| writer | CPU to 99% merged |" in table
    for lesson in source.read_all().values():
        for part in lesson.parts:
            if isinstance(part, source.Prose):
                assert "```{" not in as_text(part.text)
