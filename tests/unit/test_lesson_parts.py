"""The parts of a lesson: each lesson has all of them, in one order, as docs/how-to/write-a-lesson.md lists them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ksmlab.lessons import source

if TYPE_CHECKING:
    from pathlib import Path

MAP = "A merge has four steps: find → stop writers → compare → switch. **You are here:"
NUMBER = "(?:first|second|third|fourth|last)"
PLACE = re.compile(
    rf"(?:before|in|after) the {NUMBER}(?: and the {NUMBER})? step|in all four steps|outside the steps"
)
FIRST = "Goals"
LAST = ("Exercise", "Recap", "In the real kernel", "Further reading")
#: Code of the kernel, or a commit.
SOURCE = re.compile(r"\](?:\(|: )https://git\.kernel\.org/\S+")
LINK = re.compile(r"\](?:\(|: )https://\S+")
PICTURE = re.compile(r"^!\[[^\]]+\]\(\.\./images/\S+\.svg\)$", re.MULTILINE)
ITEM = re.compile(r"^- ", re.MULTILINE)
SUMMARY = re.compile(r"^<summary>(.*)</summary>$", re.MULTILINE)


def sections(page: Path) -> dict[str, str]:
    """Return the text of each section of a lesson, by its heading, in the order of the page."""
    text = re.sub(r"^(`{3,}).*?^\1$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


@pytest.fixture(params=source.pages(), ids=lambda page: page.stem)
def parts(request: pytest.FixtureRequest) -> dict[str, str]:
    return sections(request.param)


def test_parts_of_a_lesson_are_there_in_order(parts: dict[str, str]) -> None:
    headings = list(parts)
    assert headings[0] == FIRST
    assert tuple(headings[-len(LAST) :]) == LAST
    body = headings[1 : -len(LAST)]
    assert len(body) >= 2
    assert "What can go wrong" not in body[:-1]


def test_goals_are_three_to_five(parts: dict[str, str]) -> None:
    assert 3 <= len(ITEM.findall(parts[FIRST])) <= 5


def test_map_says_where_the_lesson_is(parts: dict[str, str]) -> None:
    goals = " ".join(parts[FIRST].split())
    assert MAP in goals
    place = goals.partition(MAP)[2].partition("**")[0]
    assert PLACE.fullmatch(place.strip(" ."))


def test_body_has_a_picture(parts: dict[str, str]) -> None:
    assert any(PICTURE.search(text) for name, text in parts.items() if name not in LAST)


def test_recap_is_a_list(parts: dict[str, str]) -> None:
    assert len(ITEM.findall(parts["Recap"])) >= 2


def test_real_kernel_links_its_source(parts: dict[str, str]) -> None:
    assert SOURCE.search(parts["In the real kernel"])


def test_further_reading_links_pages_elsewhere(parts: dict[str, str]) -> None:
    assert LINK.search(parts["Further reading"])


def test_each_answer_follows_at_least_two_numbered_hints(parts: dict[str, str]) -> None:
    hints = 0
    answers = 0
    for summary in SUMMARY.findall(parts["Exercise"]):
        if summary == "A worked answer":
            assert hints >= 2
            hints = 0
            answers += 1
        else:
            hints += 1
            assert summary == f"Hint {hints}"
    assert hints == 0
    assert answers >= 1
