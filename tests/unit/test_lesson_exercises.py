"""Each exercise fails with its skeleton, passes with its answer, and says in words what is wrong."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ksmlab.lessons import driver_tests, exercise, source
from ksmlab.lessons.excerpt import CHECKOUT
from ksmlab.lessons.source import LessonError

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
        last = re.fullmatch(r"(\d+) of (\d+) checks pass\.", done.stdout.splitlines()[-1])
        assert last, done.stdout
        assert (last[1] == last[2]) == (status == 0)
        assert_in_words(done.stdout)


def test_build_ignores_the_c_files_of_kbuild(tmp_path: Path) -> None:
    found = EXERCISES[0]
    exercise.copy(found.answer, found, tmp_path)
    (tmp_path / "greet.mod.c").write_text(
        "#include <linux/module.h>\nMODULE_INFO(name, KBUILD_MODNAME);\n"
    )
    exercise.build(tmp_path)
    assert (tmp_path / "greet.so").is_file()
    assert exercise.run_tests(tmp_path).returncode == 0


def assert_in_words(output: str) -> None:
    """Assert that the output of an exercise has no introspection of assertions, and no traceback of the tests."""
    for line in output.splitlines():
        assert not line.lstrip().startswith(("assert ", "E  ", "where ", "> ")), line
        assert "Traceback" not in line
        assert "AssertionError" not in line
        assert ".py:" not in line


#: A wrong answer for each exercise: an edit of the right one, and a part of the message that the reader must get.
WRONG_ANSWERS = {
    0: ("\tif (times < 1)\n\t\treturn -EINVAL;\n", "", "So greet_init() must return -EINVAL, which is -22"),
    1: ("len(set(contents))", "len(contents)", "different contents: 1. So frames_left() must return 1; it returned 4."),
    2: (".npages = npages", ".npages = npages * PAGE", "of pages, 5; your code passed 20480, which is bytes"),
    3: ("- {None}", "", "have 1 frame in common; shared_frames() returned 2"),
    4: ("if entry.frame.mapped > 1:", "if True:", "the page keeps its frame"),
    5: ("if content in self.stable", "if False", "Pages a, b and c are equal. Expected: UNSTABLE, MERGED, MERGED."),
    6: ("vma.process.table.get(address) is page", "True", "Page and copy have the same anon_vma and the same index"),
    7: ("(size - 1)) + size", "(size - 1)) + 4096", "an empty PMD entry, which covers 2 MiB. `next` must be"),
    8: ("memory.tlb = None", "pass", "The write of the other CPU is lost in this order of steps"),
    9: (" or cpu.lazy", "", "The CPU is lazy, and uses no entries now. So its `ipis` must be 0; it is 1"),
    10: ("process->rss_file++;", "", "So rss_anon must be 0 and rss_file 1; they are 0 and 0"),
    11: ("not self.changing and", "", "still maps the old frame"),
    12: ("min(writes, saved(mappings))", "writes", "in the worst case 0 more frames are in use afterwards"),
    13: ("waiting.append([*path, lock])", "pass", "The thread has taken area->lock under ksm_lock before"),
    14: ("size % GRANULE:", "False:", "all 8 bytes of granule 4, and 5 bytes of granule 5. Expected as the shadow"),
    15: ("statistics.median(ratios)", "statistics.mean(ratios)", "something interrupted the first engine"),
    16: ("min(times)", "max(times)", "An interrupt made some of their writes slow"),
    17: ("not module and ", "", "page_remove_rmap only in a module"),
    18: ("pages = max(pages, per_percent * MIN_CPU)", "pass", "ksmd may use from 10% to 70% of a CPU"),
    19: ("while area.regions:", "if area.regions:", "all must be removed; the driver still scans 4"),
}  # fmt: skip


@pytest.mark.parametrize("number", EXERCISES)
def test_a_wrong_answer_is_explained_in_words(number: int, tmp_path: Path) -> None:
    old, new, words = WRONG_ANSWERS[number]
    found = EXERCISES[number]
    (path,) = exercise.copy(found.answer, found, tmp_path)
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    exercise.build(tmp_path)
    done = exercise.run_tests(tmp_path)
    assert done.returncode == 1
    assert words in " ".join(done.stdout.split())
    assert_in_words(done.stdout)


def strings(tree: ast.AST) -> list[str]:
    """Return the text of each string literal of a program, without the values in formatted ones."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [each.value for each in node.values if isinstance(each, ast.Constant)]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@pytest.mark.parametrize("number", EXERCISES)
def test_messages_name_sections_that_the_lesson_has(number: int) -> None:
    lesson = source.find(number).path.read_text()
    for path in EXERCISES[number].directory.glob("test_*.py"):
        text = " ".join(strings(ast.parse(path.read_text())))
        for section in re.findall(r"(?:See|and) '(\w[^']*)'", text):
            assert f"\n## {section}\n" in lesson or f"<summary>{section}</summary>" in lesson, (
                section
            )


SOLUTIONS = {
    "raises": ("    raise ValueError('mine')\n", "Your code raises ValueError: mine", "line 4, in frames_left:"),
    "returns nothing": ("    return None\n", "it returned None", ""),
    "no Python": ("    return (\n", "after_merge.py, line 4, is not valid Python", "0 of 0 checks pass."),
    "endless": ("    while True: pass\n", "probably has an endless loop", ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOLUTIONS)
def test_exceptions_name_the_line_of_the_reader(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, words, more = SOLUTIONS[kind]
    found = EXERCISES[1]
    exercise.copy(found.skeleton, found, tmp_path)
    (tmp_path / "after_merge.py").write_text(
        f"def pages_shared(contents):\n    return 0\ndef frames_left(contents):\n{body}"
    )
    monkeypatch.setattr(exercise, "TEST_SECONDS", 10)
    try:
        output = exercise.run_tests(tmp_path).stdout
    except LessonError as error:
        output = str(error)
    for text in (words, more):
        assert text in " ".join(output.split())
    assert_in_words(output)


def test_output_of_the_reader_is_shown_with_a_failure(tmp_path: Path) -> None:
    found = EXERCISES[1]
    exercise.copy(found.answer, found, tmp_path)
    path = tmp_path / "after_merge.py"
    path.write_text(
        path.read_text().replace("return len(set", "print('here')\n    return -len(set")
    )
    assert "Your code printed:\n           here\n" in exercise.run_tests(tmp_path).stdout


DRIVER = """
[[test]]
id = "tests/vm/test_a.py::test_one"
checks = "Pages merge."

[[test]]
id = "tests/vm/test_a.py::test_two"
checks = "Pages are kept."
"""


def test_driver_tests_are_reported_by_what_they_check(tmp_path: Path) -> None:
    path = tmp_path / "driver.toml"
    path.write_text(DRIVER)
    results = [
        {"node": "tests/vm/test_a.py::test_one[debian-6.1]", "outcome": "passed", "words": ""},
        {
            "node": "tests/vm/test_a.py::test_two[debian-6.1]",
            "outcome": "failed",
            "words": "9 lost",
        },
    ]
    tests = driver_tests.read_tests(path)
    assert driver_tests.describe(tests, results) == [
        "ok       Pages merge.",
        "not yet  Pages are kept.",
        "         9 lost",
        "         The test is tests/vm/test_a.py::test_two.",
    ]
    assert driver_tests.describe(tests, results[1:])[0] == "not run  Pages merge."


@pytest.mark.parametrize(
    ("longrepr", "words"),
    [
        ("AssertionError: 5 frames are lost\nassert 5 < 3", "5 frames are lost"),
        ("assert 4000 < 256\n  where ...", ""),
        ("Failed: 33 passes still hash 9 pages", "33 passes still hash 9 pages"),
        (None, ""),
    ],
)
def test_words_of_a_driver_test_have_no_introspection(longrepr: str | None, words: str) -> None:
    assert driver_tests.failure_words(longrepr) == words


BUILD = """\
ERROR: make: Entering directory '/headers'
  CC [M]  /mine/built/debian-6.1/walk.o
/mine/built/debian-6.1/walk.c:49:17: error: expected ')' before 'return'
   49 |                 return 1;
make[1]: *** [Makefile.build:255: walk.o] Error 1
The modules in /mine/kernel do not build for linux-headers.
The sources were only read.
"""


def test_compiler_errors_are_shown_without_the_output_of_make() -> None:
    assert driver_tests.compiler_errors(BUILD, Path("/mine/built")) == [
        "walk.c:49:17: error: expected ')' before 'return'",
        "   49 |                 return 1;",
    ]
    assert driver_tests.compiler_errors("ERROR: no such kernel", Path("/mine/built")) == []


def test_driver_tests_exist() -> None:
    for found in EXERCISES.values():
        for test in driver_tests.read_tests(found.driver) if found.driver else []:
            file, _, function = test.node.partition("::")
            assert f"def {function}" in (CHECKOUT / file).read_text()


def test_each_lesson_about_the_driver_from_5_on_has_a_step_in_it() -> None:
    """The lesson about mainline KSM has none, because it is not about this driver."""
    without = {number for number, each in EXERCISES.items() if not each.driver}
    assert without == {0, 1, 2, 3, 4, 18}


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
def test_page_quotes_the_exercise(number: int) -> None:
    text = source.find(number).path.read_text()
    assert f"make exercise N={number}`" in text
    for path in EXERCISES[number].answer.iterdir():
        assert path.suffix in {".c", ".py"}
        assert f"exercises/{number:02}/answer/{path.name}" in text
    assert (f"build/exercise/{number:02}/kernel" in text) == (EXERCISES[number].driver is not None)
    answers = {path.name for path in EXERCISES[number].answer.iterdir()}
    assert answers <= {path.name for path in EXERCISES[number].skeleton.iterdir()}


def test_copy_keeps_what_the_reader_wrote(tmp_path: Path) -> None:
    found = exercise.find(2)
    written = exercise.copy(found.skeleton, found, tmp_path)
    written[0].write_text("mine")
    assert exercise.copy(found.skeleton, found, tmp_path) == []
    assert written[0].read_text() == "mine"


def test_missing_exercise_and_wrong_c_are_reported(tmp_path: Path) -> None:
    with pytest.raises(LessonError, match=r"Lesson 99 has no exercise.*2"):
        exercise.find(99)
    (tmp_path / "x.c").write_text("int main(void) { return }")
    with pytest.raises(LessonError, match=r"x\.c does not compile"):
        exercise.build(tmp_path)


def test_driver_copies_lack_a_part_and_what_the_reader_wrote_is_kept(tmp_path: Path) -> None:
    for found in EXERCISES.values():
        if not found.driver:
            continue
        target = tmp_path / str(found.number)
        sources = exercise.copy_driver(found, CHECKOUT, target)
        (mine,) = exercise.readers_files(sources)
        assert mine.read_bytes() != (CHECKOUT / "kernel" / mine.name).read_bytes()
        mine.write_text("mine")
        exercise.copy_driver(found, CHECKOUT, target)
        assert mine.read_text() == "mine"
