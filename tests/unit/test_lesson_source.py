"""The page of a lesson: what is typed, what is recorded, and what a terminal shows of it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from spoken import spoken

from ksmlab.lessons import blocks, play, recorded, source
from ksmlab.lessons.read_along import as_text
from ksmlab.lessons.session import Exchange, SessionError, parse, render
from ksmlab.lessons.source import LessonError, Prose, Step
from ksmlab.lessons.varying import Same

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "# 3. Title\n\n<!-- lesson\nkernel: debian-6.1\nminutes: 5\n-->\n<!-- end -->\n"


def run(session: str, options: str = "") -> str:
    """Return a step of a page."""
    return f"<!-- run{options}\n-->\n```console\n{session}```\n<!-- end -->\n"


def lesson(directory: Path, text: str, name: str = "03-name.md") -> source.Lesson:
    path = directory / name
    path.write_text(text)
    return source.read(path)


def test_parts_come_in_order(tmp_path: Path) -> None:
    step = run("vm:~# cat x\n>>>\n>>> y\n")
    text = f"{HEAD}\nBefore.\n\n{step}\n```c\nint x;\n```\n"
    read = lesson(tmp_path, text)
    assert (read.number, read.title, read.kernel, read.minutes) == (3, "3. Title", "debian-6.1", 5)
    assert [type(part) for part in read.parts] == [Prose, Prose, Step, Prose]
    assert read.steps[0].typed == ("cat x", "", "y")
    assert read.steps[0].line == 11
    assert read.parts[3] == Prose("```c\nint x;\n```")


def test_options_of_a_step(tmp_path: Path) -> None:
    options = "\nvaries: pfn=<frame>\nvaries: <count> s\nseconds: 7"
    step = lesson(tmp_path, HEAD + run("vm:~# :x:\n", options)).steps[0]
    assert [each.text for each in step.varies[:2]] == ["pfn=<frame>", "<count> s"]
    assert step.seconds == 7


def test_step_with_a_kernel_begins_a_stage(tmp_path: Path) -> None:
    first, second = run("> a\n"), run("> b\n", "\nkernel: debug-6.1")
    read = lesson(tmp_path, f"{HEAD}\nOne.\n\n{first}\nTwo.\n\n{second}\n{run('> c' + chr(10))}")
    typed = [(each.kernel, [step.typed for step in each.steps]) for each in read.stages]
    assert typed == [("debian-6.1", [("a",)]), ("debug-6.1", [("b",), ("c",)])]
    assert tuple(part for each in read.stages for part in each.parts) == read.parts
    steps = [step.exchanges for step in read.steps]
    recorded.save(read, steps, {"debian-6.1": "6.1-a", "debug-6.1": "6.1-b"}, kvm=False)
    text = " ".join(read.path.read_text().split())
    assert "is from debian-6.1 (6.1-a) and debug-6.1 (6.1-b), on" in text
    recorded.check(source.read(read.path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# T\n", "a lesson block"),
        ("# T\n" + run("> x\n"), "must precede the first step"),
        (HEAD + HEAD, "only one lesson block"),
        (HEAD + run("> x\n", "\ncolour: red"), r"03-name.md:8.*no option 'colour'"),
        (HEAD + run("> x\n", "\nvaries: <colour>"), "unknown kind <colour>"),
        (HEAD + run("> x\n", "\nvaries: x"), "has no varying part"),
        (HEAD + run(""), "at least one typed line"),
        (HEAD + "<!-- run -->\nx\n<!-- end -->\n", "at least one typed line"),
        (HEAD + run("x\n"), "no prompt: 'x'"),
        (HEAD + run(f"> {'x' * 111}\n"), "at most 110 characters"),
        (HEAD + "<!-- run -->\n```console\n> x\n```\n", "line 8: '<!-- run' is not part"),
        (HEAD + "<!-- end -->\n", "line 8: '<!-- end' is not part"),
        ("# T\n<!-- lesson\nkernel: x\n-->\n<!-- end -->\n", "kernel and minutes"),
        ("# T\n<!-- lesson\nkernel: x\ncolour: x\n-->\n<!-- end -->\n", "no option colour"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(LessonError, match=said):
        lesson(tmp_path, text)


def test_file_name_without_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LessonError, match="03-seeing-memory"):
        lesson(tmp_path, HEAD, "index.md")


def test_two_lessons_with_one_number_are_refused(tmp_path: Path) -> None:
    lesson(tmp_path, HEAD, "03-a.md")
    lesson(tmp_path, HEAD, "03-b.md")
    with pytest.raises(LessonError, match="the same number"):
        source.read_all(tmp_path)


def test_session_is_read_as_it_is_written() -> None:
    exchanges = (
        Exchange("vm:/sys# ", "cat x", "1\n\n 2\n"),
        Exchange("> ", "", ""),
        Exchange(">>> ", "if x:", ""),
        Exchange("... ", "    y", "vm: no prompt\n"),
        Exchange("... ", "", ""),
    )
    text = "vm:/sys# cat x\n1\n\n 2\n>\n>>> if x:\n...     y\nvm: no prompt\n...\n"
    assert render(exchanges) == text
    assert parse(text) == exchanges


@pytest.mark.parametrize("output", [">>> 1\n", "1", "...\n"])
def test_output_that_reads_as_something_else_is_refused(output: str) -> None:
    with pytest.raises(SessionError, match="looks like a prompt"):
        render([Exchange("> ", "x", output), Exchange("> ", "y", "")])


def test_recorder_writes_output_into_the_page(tmp_path: Path) -> None:
    before = HEAD + "\nText.\n\n" + run("vm:~# cat x\n", "\nvaries: <count>")
    read = lesson(tmp_path, before)
    with pytest.raises(LessonError, match=r"03-name\.md.*make lessons-record N=3"):
        recorded.check(read)
    exchange = Exchange("vm:/# ", "cat x", "1 \n2\n")
    recorded.save(read, [(exchange,)], {"debian-6.1": "6.1.0-test"}, kvm=True)
    after = source.read(read.path)
    assert after.steps[0].exchanges == (Exchange("vm:/# ", "cat x", "1\n2\n"),)
    assert after.steps[0].varies == read.steps[0].varies
    text = read.path.read_text()
    assert "```console\nvm:/# cat x\n1\n2\n```\n" in text
    assert "make lesson N=3" in text
    assert "debian-6.1 (6.1.0-test), with KVM" in " ".join(text.split())
    recorded.check(after)
    read.path.write_text(text.replace("1\n2", "1\n3"))
    with pytest.raises(LessonError, match="edited since"):
        recorded.check(source.read(read.path))


def test_head_links_to_the_next_lesson_that_exists(tmp_path: Path) -> None:
    for name in ("03-name.md", "05-after.md", "07-later.md"):
        lesson(tmp_path, HEAD, name)
    heads = [
        recorded.head(read, blocks.find(HEAD)[0], "").body
        for read in source.read_all(tmp_path).values()
    ]
    assert [re.findall(r"\[next lesson\]\((.*?)\)", text) for text in heads] == [
        ["05-after.md"],
        ["07-later.md"],
        [],
    ]


def test_page_stays_as_it_is_if_an_output_cannot_be_shown(tmp_path: Path) -> None:
    read = lesson(tmp_path, HEAD + run("> x\n"))
    text = read.path.read_text()
    with pytest.raises(LessonError, match="cannot be recorded"):
        recorded.save(read, [(Exchange("> ", "x", "> \n"),)], {"debian-6.1": "6.1"}, kvm=False)
    assert read.path.read_text() == text


#: The most words of a lesson before its exercise, without optional sections, code and recorded output.
WORDS = 1500


def test_every_lesson_is_recorded() -> None:
    lessons = source.read_all()
    assert list(lessons) == list(range(20))
    for each in lessons.values():
        assert each.title.startswith(f"{each.number}. ")
        recorded.check(each)


@pytest.mark.parametrize("page", source.pages(), ids=lambda page: page.name)
def test_lesson_is_short_enough_to_read_at_once(page: Path) -> None:
    text = blocks.rewrite(page.read_text(), lambda block: replace(block, body=""))
    sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    exercise = next(n for n, each in enumerate(sections) if each.startswith("## Exercise"))
    body = [each for each in sections[:exercise] if not each.startswith("## Optional")]
    # The words in tables count.
    assert len(spoken("\n".join(body).replace("|", " "))) <= WORDS


def test_every_record_is_the_same_as_itself() -> None:
    for each in source.read_all().values():
        for step in each.steps:
            play.compare(each, step, step.exchanges, step.exchanges)


def test_terminal_shows_no_markers_links_or_answers() -> None:
    text = (
        "<!-- file a.c\nfrom: x\n-->\n[`a.c:3`](../../a.c#L3)\n\n```c\n\tx[0](y);\n```\n<!-- end -->\n\n"
        "See [lesson 2](02-abi-by-hand.md) and [this](https://example.org).\n\n"
        "<details>\n<summary>Answer</summary>\n\n42\n\n</details>\n\n![Two pages.](../images/x.svg)\n"
    )
    assert as_text(text) == (
        "`a.c:3`\n\n```c\n        x[0](y);\n```\n\n"
        "See lesson 2 and [this](https://example.org).\n\n\n> **Picture.** Two pages.\n"
    )


def test_no_lesson_shows_html_in_a_terminal() -> None:
    for each in source.read_all().values():
        for part in each.parts:
            if isinstance(part, Prose):
                shown = as_text(part.text)
                assert "<!--" not in shown
                assert "details>" not in shown
                assert "![" not in shown


def test_updates_of_a_kernel_do_not_change_the_output_of_a_page() -> None:
    """Debian replaces its kernels with newer ones; the output of a lesson may differ in their names and dates."""
    for lesson in source.read_all().values():
        for step in lesson.steps:
            for exchange in step.exchanges:
                updated = re.sub(r"\b(6\.\d+\.0-)\d+", r"\g<1>999", exchange.output)
                updated = re.sub(r"\b(6\.\d+\.)[1-9]\d*-\d+", r"\g<1>999-1", updated)
                updated = re.sub(r"\(20\d\d-\d\d-\d\d\)", "(2031-02-03)", updated)
                assert Same(step.varies)(exchange.output, updated), (lesson.title, exchange.typed)
