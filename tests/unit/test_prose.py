"""The check for words that the project's prose does not use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ksmlab import prose
from ksmlab.prose import Rule

if TYPE_CHECKING:
    from pathlib import Path

#: A rule with a word of its own: the check also reads this file.
RULES = (Rule(re.compile(r"\b(?:xyzzy)\b", re.IGNORECASE), "no process"),)


def lines(tmp_path: Path, name: str, text: str) -> list[int]:
    path = tmp_path / name
    path.write_text(text)
    return [found.line for found in prose.check([path], RULES)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A.\nXyzzy reads it.\n", [2]),
        ("`xyzzy` is a user.\n", []),
        ("A.\n\n```console\nvm:~# id xyzzy\n```\n\nxyzzy\n", [7]),
        ("<!-- xyzzy\n-->\nxyzzy\n", [3]),
        ("A [page](xyzzy.md).\n", []),
        ("A [page of xyzzy](page.md).\n", [1]),
    ],
)
def test_markdown_is_checked_outside_of_code_and_comments(
    tmp_path: Path, text: str, found: list[int]
) -> None:
    assert lines(tmp_path, "page.md", text) == found


def test_python_is_checked_in_comments_docstrings_and_messages(tmp_path: Path) -> None:
    text = '''"""Xyzzy\nreads it."""\n\nxyzzy = "xyzzy"\n# Xyzzy.\nprint("it is xyzzy there")\n'''
    assert lines(tmp_path, "module.py", text) == [1, 5, 6]


def test_f_strings_are_checked_on_each_python_version(tmp_path: Path) -> None:
    text = (
        "# é\nx = 'é', f'{x} is xyzzy there'\nprint(\n    f'{f(\"xyzzy\")}'\n    ' xyzzy {x}'\n)\n"
        'rf"""A {x}\nof xyzzy."""\n'
    )
    assert lines(tmp_path, "module.py", text) == [2, 4, 5, 8]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "# It is plugh\n#: xyzzy now.\n"),
        ("a.py", "x = (\n    'it is plugh '\n    f'xyzzy {x}'\n)\n"),
        ("a.md", "# A\nIt is plugh\nxyzzy.\n"),
        ("a.md", "> It\n> is plugh\n> xyzzy.\n"),
        ("a.c", "/*\n * plugh\n * xyzzy\n */\n"),
        ("a.sh", "true\n# plugh\n# xyzzy\n"),
    ],
)
def test_words_of_a_rule_are_found_across_lines(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "rules.toml").write_text(
        '[[rule]]\nwords = ["plugh xyzzy"]\ninstead = "no process"\n'
    )
    (tmp_path / name).write_text(text)
    (found,) = prose.check([tmp_path / name], prose.load(tmp_path / "rules.toml"))
    assert found.line == text[: text.index("plugh")].count("\n") + 1


def test_word_after_an_escaped_line_break_is_found(tmp_path: Path) -> None:
    assert lines(tmp_path, "module.py", "print('It is here.\\nXyzzy.')\n") == [1]


def test_c_is_checked_in_comments_and_messages(tmp_path: Path) -> None:
    text = '/* A.\n * Xyzzy. */\nint xyzzy; // xyzzy\npr_err("xyzzy\\n");\n'
    assert lines(tmp_path, "file.c", text) == [2, 3, 4]


def test_a_makefile_is_checked_in_comments(tmp_path: Path) -> None:
    assert lines(tmp_path, "Makefile", "xyzzy:\n\ttrue # xyzzy\n") == [2]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.sh", 'xyzzy() {\n\techo "it is xyzzy there" # xyzzy\n}\n# xyzzy\n', [2, 2, 4]),
        ("run", "#!/bin/sh\n# xyzzy\n${x#xyzzy}\n", [2]),
        ("a.config", "# Xyzzy reads it.\nCONFIG_XYZZY=y\n", [1]),
        ("a.toml", "# xyzzy\nxyzzy = 'xyzzy'\na = \"it is xyzzy there\"\n", [1, 3]),
        ("a.toml", 'a = """\nxyzzy is\nthere"""\n', [2]),
        ("a.js", "// it's xyzzy\nxyzzy('xyzzy', `it is\nxyzzy there`)\n/* xyzzy */\n", [1, 3, 4]),
        ("a.css", "/* A\n * xyzzy. */\n.xyzzy { top: 0 }\n", [2]),
        ("a.html.j2", "{# xyzzy #}\n{{ xyzzy }}{% if xyzzy %}\n<p>Xyzzy</p>\n", [1, 3]),
        ("Kbuild", "# xyzzy\nxyzzy-y := xyzzy.o\n", [1]),
        ("a.yml", "xyzzy: 1 # xyzzy\n", [1]),
    ],
)
def test_comments_and_messages_of_other_files_are_checked(
    tmp_path: Path, name: str, text: str, found: list[int]
) -> None:
    assert lines(tmp_path, name, text) == found


def test_other_files_have_no_prose(tmp_path: Path) -> None:
    assert lines(tmp_path, "data.json", '"xyzzy"\n') == []


def test_a_finding_says_where_it_is_and_what_to_write(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("Xyzzy.\n")
    (found,) = prose.check([path], RULES)
    assert str(found) == f"{path}:1: 'Xyzzy' is not used in this project; instead: no process"


# Strings of two words, which are no prose in this file.
@pytest.mark.parametrize("text", ["Nobody waits.", "It's dearer.", "times fewer"])
def test_the_rules_of_the_project_find_words_of_the_style_guide(tmp_path: Path, text: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(text)
    assert len(list(prose.check([path], prose.load()))) == 1


def test_a_rule_does_not_apply_to_its_exceptions(tmp_path: Path) -> None:
    paths = [tmp_path / "a.md", tmp_path / "b.md"]
    for path in paths:
        path.write_text("nobodies")
    rule = Rule(re.compile("nobodies"), "no processes", frozenset(paths[:1]))
    assert [found.path for found in prose.check(paths, [rule])] == paths[1:]
