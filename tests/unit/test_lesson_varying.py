"""What may be otherwise next time, and what may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ksmlab.lessons import play
from ksmlab.lessons.session import Exchange
from ksmlab.lessons.source import Lesson, LessonError, Step
from ksmlab.lessons.varying import Same, Span, Template, VaryingError, spans

if TYPE_CHECKING:
    from pathlib import Path


def same(template: str, recorded: str, got: str) -> bool:
    return Same([Template(template)])(recorded, got)


@pytest.mark.parametrize(
    ("template", "recorded", "got", "expected"),
    [
        ("pfn=<frame>", "pfn=0x12 present\n", "pfn=0xabc present\n", True),
        ("pfn=<frame>", "pfn=0x12 present\n", "pfn=0xabc swapped\n", False),
        ("pfn=<frame>", "x 0x12\n", "x 0x13\n", False),
        ("took <number> s", "took 1.5 s\n", "took 12 s\n", True),
        ("took <number> s", "took 1.5 s\n", "took long s\n", False),
        ("<count> pages", "1,024   pages", "9   pages", True),
        ("(<count>)", "(1) 2", "(3) 2", True),
        ("(<count>)", "(1) 2", "(3) 4", False),
        ("<count>", "", "1", False),
        ("<rest>", "a\nb\n", "c\nd\n", True),
        ("<rest>", "a\nb\n", "c\n", False),
        ("<word>", "a.b", "x y", False),
    ],
)
def test_same(template: str, recorded: str, got: str, expected: bool) -> None:
    assert same(template, recorded, got) is expected


def test_what_names_a_thing_names_the_same_one_again() -> None:
    assert same("<frame>", "0x1 0x2 0x1", "0x8 0x9 0x8")
    assert not same("<frame>", "0x1 0x2 0x1", "0x8 0x9 0x7")
    # Two numbers that count something may be alike by chance.
    assert same("<count>", "5 5", "6 7")


def test_blanks_beside_a_varying_part_are_those_of_a_column() -> None:
    assert same("left <number> ms", "left    138.4 ms\n", "left     61.9 ms\n")
    assert same("<count> ms", "12 ms  or   7 ms", " 1 ms  or 123 ms") is False
    assert same("<count> ms", "12 ms  or   7 ms", "1 ms  or 123 ms")
    assert not same("left <number> ms", "left 138.4 ms\n", "left61.9 ms\n")
    assert not same("<count> ms", "a  b 1 ms", "a b 1 ms")
    assert not same("<frame>", "  ok\n", " ok\n")


def test_a_name_holds_for_the_whole_step() -> None:
    whole = Same([Template("<frame>")])
    assert whole("0x1", "0x8")
    assert not whole("0x1", "0x9")


def test_the_rule_that_comes_first_counts() -> None:
    found = spans([Template("pfn=<frame>"), Template("<count>")], "pfn=12 of 3")
    assert found == [Span(4, 6, "frame"), Span(10, 11, "count")]


@pytest.mark.parametrize("text", ["", "pfn=", "<colour>"])
def test_a_rule_has_a_part_that_varies(text: str) -> None:
    with pytest.raises(VaryingError):
        Template(text)


def test_a_difference_names_lesson_step_expected_and_got(tmp_path: Path) -> None:
    expected = (Exchange("vm:~# ", "cat run", "0\n"),)
    step = Step(2, 17, expected)
    lesson = Lesson(path=tmp_path / "04-x.md", title="", kernel="", minutes=1, parts=(step,))
    play.compare(lesson, step, expected, expected)
    with pytest.raises(LessonError) as caught:
        play.compare(lesson, step, expected, [Exchange("vm:~# ", "cat run", "1\n")])
    text = str(caught.value)
    assert "lesson 4, step 2 (04-x.md:17), typed 'cat run'" in text
    assert "\n-0\n+1\n" in text
    assert "make lessons-record N=4" in text
    with pytest.raises(LessonError):
        play.compare(lesson, step, expected, [Exchange(">>> ", "cat run", "0\n")])
