"""The modules that a lesson finds in its VM, built by a make that only pretends to be a kernel's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from ksmlab.lessons import source
from ksmlab.lessons.vm import build_lesson_module, check_log
from ksmlab.vm.errors import BuildError, VmError

if TYPE_CHECKING:
    from pathlib import Path

    from ksmlab.vm.kernels import Kernel

HEAD = "# 3. Title\n\n<!-- lesson\nkernel: debian-6.1\nminutes: 5\n{}-->\n<!-- end -->\n"
MAKEFILE = "modules:\n\t@cp $(M)/hello.c $(M)/hello.ko\n"


def lesson(directory: Path, option: str = "modules: hello\n") -> source.Lesson:
    path = directory / "03-name.md"
    path.write_text(HEAD.format(option))
    return source.read(path)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    directory = tmp_path / "linux"
    directory.mkdir()
    (directory / "Makefile").write_text(MAKEFILE)
    return cast("Kernel", SimpleNamespace(name="debian-6.1", build_dir=directory))


def test_modules_of_a_lesson_are_words(tmp_path: Path) -> None:
    assert lesson(tmp_path, "modules: one two\n").modules == ("one", "two")
    assert lesson(tmp_path, "").modules == ()


def test_module_of_a_lesson_is_built_outside_of_its_sources(tmp_path: Path, kernel: Kernel) -> None:
    sources = tmp_path / "programs/03/hello"
    sources.mkdir(parents=True)
    (sources / "Kbuild").write_text("obj-m := hello.o\n")
    (sources / "hello.c").write_text("int x;\n")
    built = build_lesson_module(tmp_path, kernel, lesson(tmp_path), "hello")
    assert built.module("hello") == tmp_path / "build/debian-6.1-lesson-03-hello/hello.ko"
    assert sorted(path.name for path in sources.iterdir()) == ["Kbuild", "hello.c"]
    with pytest.raises(BuildError, match="did not create a module called other"):
        built.module("other")


def test_module_without_sources_is_named(tmp_path: Path, kernel: Kernel) -> None:
    with pytest.raises(VmError, match=r"03-name\.md: the module hello .* has no Kbuild"):
        build_lesson_module(tmp_path, kernel, lesson(tmp_path), "hello")
    assert not (tmp_path / "build").exists()


def test_every_module_of_a_lesson_has_sources() -> None:
    for each in source.read_all().values():
        for name in each.modules:
            assert (each.programs / name / "Kbuild").is_file()


LOG = ["[    1.000000] booted", "[    2.000000] BUG: KASAN: use-after-free in old [ksm]"]
REPORT = "[    3.000000] BUG: KASAN: use-after-free in ksm_regions_reap [ksm]"


def test_report_of_an_error_during_a_lesson_fails_it(tmp_path: Path) -> None:
    read = lesson(tmp_path, "reports: lockdep, soft lockup\n")
    assert read.reports == ("lockdep", "soft lockup")
    check_log(read, LOG, LOG)
    with pytest.raises(source.LessonError, match=r"03-name\.md: .*\(KASAN\):\n.*ksm_regions_reap"):
        check_log(read, LOG, [*LOG, REPORT])
    with pytest.raises(source.LessonError, match="ksm_regions_reap"):
        check_log(read, LOG, [REPORT])


def test_report_that_a_lesson_causes_on_purpose_is_expected(tmp_path: Path) -> None:
    check_log(lesson(tmp_path, "reports: KASAN\n"), LOG, [*LOG, REPORT])
