"""Code is shown by its name: what is found, and what is said when it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ksmlab.lessons import excerpt
from ksmlab.lessons.excerpt import ExcerptError

DATA = Path(__file__).parent / "data"

PYTHON = """\
import os

@deco
def one(a):
    return a

class Two:
    def one(self):
        return 2
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copy(DATA / "excerpt.c", tmp_path / "a.c")
    (tmp_path / "a.py").write_text(PYTHON)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "first", "begin", "end"),
    [
        ("LONG", 1, "#define LONG", "((_x) + 1)"),
        ("SHORT", 3, "#define", "SHORT 1"),
        ("struct thing", 6, "struct thing {", "};"),
        ("one", 13, "static int one(int a,", "}"),
        ("two", 23, "struct thing *two(void)", "}"),
        ("fops", 28, "static const struct", "};"),
        ("three", 32, "static void __attribute__", "}"),
    ],
)
def test_c(tree: Path, name: str, first: int, begin: str, end: str) -> None:
    found = excerpt.find("a.c", name, tree)
    assert found.first == first
    assert found.text.startswith(begin)
    assert found.text.endswith(end)


def test_the_comment_above(tree: Path) -> None:
    assert excerpt.find("a.c", "one", tree).comment == "/**\n * one - the first\n */"
    assert excerpt.find("a.c", "struct thing", tree).comment == "/* Of the struct. */"
    assert excerpt.find("a.c", "two", tree).comment == ""


def test_what_a_lesson_shows_of_it(tree: Path) -> None:
    one = excerpt.find("a.c", "one", tree)
    assert one.cut(comment=False) == excerpt.Excerpt("one", 13, one.text)
    with_comment = one.cut(comment=True)
    assert (with_comment.first, with_comment.text) == (10, f"{one.comment}\n{one.text}")
    assert one.cut(comment=True, lines="2-3").text == " * one - the first\n */"
    assert one.cut(comment=False, lines="2").first == 14
    with pytest.raises(ExcerptError, match="one has only 8 lines, so lines 50-60"):
        one.cut(comment=False, lines="50-60")


def test_part_of_a_file_begins_with_the_opening_of_its_comment(tree: Path) -> None:
    whole = (tree / "a.c").read_text()
    assert excerpt.part("a.c", checkout=tree).text == whole.rstrip()
    found = excerpt.part("a.c", "one - the first", "static int one", tree)
    assert (found.first, found.text) == (10, "/**\n * one - the first\n */")
    assert excerpt.part("a.c", "SHORT", "", tree).first == 3
    with pytest.raises(ExcerptError, match=r"a\.c has no line with 'nothing' after line 3"):
        excerpt.part("a.c", "SHORT", "nothing", tree)


def test_python(tree: Path) -> None:
    assert excerpt.find("a.py", "one", tree).text == "@deco\ndef one(a):\n    return a"
    assert excerpt.find("a.py", "Two.one", tree).text == "    def one(self):\n        return 2"
    assert excerpt.find("a.py", "Two", tree).first == 7


def test_a_renamed_function_is_an_error_that_names_what_is_near(tree: Path) -> None:
    with pytest.raises(ExcerptError, match=r"a\.c does not define 'ones'. Similar names: one"):
        excerpt.find("a.c", "ones", tree)
    with pytest.raises(ExcerptError, match=r"b\.c does not exist"):
        excerpt.find("b.c", "one", tree)


def test_it_finds_what_the_driver_defines() -> None:
    assert "pte_wrprotect" in excerpt.find("kernel/pte.c", "replace_page").text
    assert excerpt.find("kernel/trace.h", "devksm_merge").text.endswith(");")
    assert excerpt.find("kernel/core.c", "ksm_settings").text.startswith("struct ksm_settings")
