"""Building out of the sources, with a make that only pretends to be a kernel's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from odd_paths import KBUILD_SHELL, ODD, named, odd_environment

from ksmlab.vm import build as build_module
from ksmlab.vm.build import build_modules, mirror
from ksmlab.vm.errors import BuildError, VmError

MAKEFILE = """
modules:
\t@echo "W=$(W)"
\t@grep -q broken $(M)/hello.c && { echo "hello.c:1: error: broken" >&2; exit 1; } || true
\t@cp $(M)/hello.c $(M)/hello.ko
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    (directory / "sub").mkdir(parents=True)
    (directory / "hello.c").write_text("int x;\n")
    (directory / "sub/tool.sh").write_text("#!/bin/sh\n")
    (directory / "sub/tool.sh").chmod(0o755)
    (directory / "stale.o").touch()
    return directory


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    directory = tmp_path / "linux"
    directory.mkdir()
    (directory / "Makefile").write_text(MAKEFILE)
    return directory


def test_mirror_copies_what_changed_and_no_more(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert mirror(source, target) == [Path("hello.c"), Path("sub/tool.sh")]
    assert (target / "sub/tool.sh").stat().st_mode & 0o111
    (target / "hello.ko").touch()
    (target / ".hello.o.cmd").touch()
    assert mirror(source, target) == []
    (source / "hello.c").write_text("int y;\n")
    (source / "sub/tool.sh").unlink()
    assert mirror(source, target) == [Path("hello.c"), Path("sub/tool.sh")]
    assert not (target / "sub/tool.sh").exists()
    assert (target / "hello.ko").exists()
    assert (target / ".hello.o.cmd").exists()


def test_build_gives_the_modules(source: Path, kernel: Path, tmp_path: Path) -> None:
    built = build_modules(source, kernel, tmp_path / "b/one", variables={"W": "1"})
    assert built.module("hello") == tmp_path / "b/one/hello.ko"
    assert "W=1" in built.log
    assert sorted(path.name for path in source.iterdir()) == ["hello.c", "stale.o", "sub"]
    with pytest.raises(BuildError, match="did not create a module called other"):
        built.module("other")


def test_other_variables_rebuild_everything(source: Path, kernel: Path, tmp_path: Path) -> None:
    build_modules(source, kernel, tmp_path / "b")
    (tmp_path / "b/left.o").touch()
    build_modules(source, kernel, tmp_path / "b")
    assert (tmp_path / "b/left.o").exists()
    build_modules(source, kernel, tmp_path / "b", variables={"W": "1"})
    assert not (tmp_path / "b/left.o").exists()
    (tmp_path / "b/left.o").touch()
    build_modules(source, kernel, tmp_path / "b", variables={"W": "1"}, fresh=True)
    assert not (tmp_path / "b/left.o").exists()


def test_an_error_has_the_compilers_words(source: Path, kernel: Path, tmp_path: Path) -> None:
    (source / "hello.c").write_text("broken\n")
    with pytest.raises(BuildError, match="do not build") as caught:
        build_modules(source, kernel, tmp_path / "b")
    assert "hello.c:1: error: broken" in caught.value.log


def lives(process: Path) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return (process / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_compilers_end_with_the_build_and_hold_its_lock_as_long(
    source: Path, kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "BUILD_SECONDS", 1)
    (kernel / "Makefile").write_text(
        "modules:\n\t@readlink /proc/self/fd/* || true\n\t@sleep 300 & echo $$! > $(M)/pid; wait\n"
    )
    with pytest.raises(BuildError, match="did not end within 1 s") as caught:
        build_modules(source, kernel, tmp_path / "b")
    assert str(tmp_path / "b.lock") in caught.value.log
    compiler = Path("/proc", (tmp_path / "b/pid").read_text().strip())
    deadline = time.monotonic() + 10
    while lives(compiler) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not lives(compiler)


@pytest.mark.parametrize("name", ["a b", "x;touch pwned;y", "$(touch pwned)"])
def test_build_rejects_a_path_that_kbuild_gives_to_a_shell(
    source: Path, kernel: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(VmError, match="The path of the build directory contains"):
        build_modules(source, kernel, tmp_path / name)
    assert not (tmp_path / name).exists()
    kernel.rename(tmp_path / name)
    with pytest.raises(VmError, match="The path of the kernel build directory contains"):
        build_modules(source, tmp_path / name, tmp_path / "built")
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("odd", ODD)
def test_no_variable_with_an_odd_directory_reaches_kbuild(
    source: Path, kernel: Path, tmp_path: Path, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd_environment(monkeypatch, named(tmp_path, odd))
    (kernel / "Makefile").write_text(MAKEFILE + KBUILD_SHELL)
    built = build_modules(source, kernel, tmp_path / "b")
    assert f"TMPDIR={tmp_path}/b/" in built.log
    assert "pwned" not in built.log
    assert not list(tmp_path.rglob("pwned"))


def test_a_directory_that_is_no_kernel(source: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="not a kernel's build directory"):
        build_modules(source, tmp_path / "nothing", tmp_path / "b")
