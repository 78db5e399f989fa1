"""Each exercise fails with its skeleton, and passes with its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ksmlab.lessons import exercise, source
from ksmlab.lessons.excerpt import CHECKOUT
from ksmlab.lessons.source import LessonError

if TYPE_CHECKING:
    from pathlib import Path

EXERCISES = exercise.read_all()


@pytest.mark.parametrize("number", EXERCISES)
def test_the_skeleton_fails_and_the_answer_passes(number: int, tmp_path: Path) -> None:
    found = EXERCISES[number]
    for name, source_directory, status in (("a", found.skeleton, 1), ("b", found.answer, 0)):
        target = tmp_path / name
        assert exercise.copy(source_directory, found, target)
        exercise.build(target)
        done = exercise.run_tests(target)
        assert done.returncode == status, done.stdout + done.stderr
        assert "error" not in done.stdout.splitlines()[-1]


#: Changes to the answer of exercise 5, each of which the driver contradicts (kernel/match.c, kernel/index_hash.c).
AGAINST_THE_DRIVER = {
    "new pages wait": ("last not in (None, content)", "last != content"),
    "changed pages do not wait": ("last not in (None, content)", "False"),
    "changed page stays merged": ("self.merged.discard(name)", "pass"),
    "changed page stays in the index": ("del self.unstable[last]", "pass"),
    "stale entry stays in the index": ("del self.unstable[content]", "pass"),
    "stale entry is replaced": ("            return Result.FAILED", "            return self.visit(name)"),
    "merge trusts the index": ("self.read(other) != content", "False"),
    "only one of the two pages is merged": ("{name, other}", "{name}"),
    "page merges with itself": ("other in (None, name)", "other is None"),
    "stable index is not searched": ("if content in self.stable", "if False"),
}  # fmt: skip


@pytest.mark.parametrize("change", AGAINST_THE_DRIVER)
def test_answer_5_that_contradicts_the_driver_fails(change: str, tmp_path: Path) -> None:
    old, new = AGAINST_THE_DRIVER[change]
    found = EXERCISES[5]
    (path,) = exercise.copy(found.answer, found, tmp_path)
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    exercise.build(tmp_path)
    assert exercise.run_tests(tmp_path).returncode == 1


@pytest.mark.parametrize("number", EXERCISES)
def test_its_page_tells_of_it(number: int) -> None:
    text = source.find(number).path.read_text()
    assert f"make exercise N={number}`" in text
    for path in EXERCISES[number].answer.iterdir():
        assert path.suffix in {".c", ".py"}
        assert f"exercises/{number:02}/answer/{path.name}" in text
    answers = {path.name for path in EXERCISES[number].answer.iterdir()}
    assert answers <= {path.name for path in EXERCISES[number].skeleton.iterdir()}


def test_what_the_reader_wrote_stays(tmp_path: Path) -> None:
    found = exercise.find(2)
    written = exercise.copy(found.skeleton, found, tmp_path)
    written[0].write_text("mine")
    assert exercise.copy(found.skeleton, found, tmp_path) == []
    assert written[0].read_text() == "mine"


def test_a_lesson_without_an_exercise(tmp_path: Path) -> None:
    with pytest.raises(LessonError, match=r"Lesson 99 has no exercise.*2"):
        exercise.find(99)
    (tmp_path / "x.c").write_text("int main(void) { return }")
    with pytest.raises(LessonError, match=r"x\.c does not compile"):
        exercise.build(tmp_path)


def test_the_drivers_of_exercises_have_something_left_out_and_what_was_written_stays(
    tmp_path: Path,
) -> None:
    with_driver = [each for each in EXERCISES.values() if each.driver]
    assert with_driver
    for found in with_driver:
        target = tmp_path / str(found.number)
        sources = exercise.copy_driver(found, CHECKOUT, target)
        changed = [
            path
            for path in sources.rglob("*")
            if path.is_file()
            and path.read_bytes() != (CHECKOUT / "kernel" / path.relative_to(sources)).read_bytes()
        ]
        assert len(changed) == 1
        assert "Your part." in changed[0].read_text()
        changed[0].write_text("mine")
        exercise.copy_driver(found, CHECKOUT, target)
        assert changed[0].read_text() == "mine"
