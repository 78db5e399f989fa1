"""A disk that is full, read-only or closed to this user: said in one message that names the directory."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn

import pytest

from ksmlab import cli
from ksmlab.kernels_cli import size_on_disk
from ksmlab.vm import path_checks
from ksmlab.vm.apt import PrivateApt
from ksmlab.vm.errors import FetchError, VmError
from ksmlab.vm.kernels import KernelSpec, KernelStore
from ksmlab.vm.path_checks import (
    CHECKOUT,
    check_directory,
    check_log,
    check_writable,
    explain,
    storage_errors,
)
from ksmlab.vm.shelf import scratch

if TYPE_CHECKING:
    from collections.abc import Callable


def fail_with(number: int) -> Callable[..., NoReturn]:
    """Give a function that fails as a system call does."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "is full"), (errno.EDQUOT, "is full"), (errno.EROFS, "read-only"),
     (errno.EACCES, "permission denied")],
)  # fmt: skip
def test_directory_that_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", fail_with(number))
    with pytest.raises(VmError) as caught:
        check_writable("kernel cache", tmp_path / "not/yet")
    assert f"The kernel cache, {tmp_path / 'not/yet'}, cannot be written to: " in caught.value.what
    assert says in caught.value.what
    assert "KSMLAB_CACHE" in caught.value.hint


def test_too_little_space_is_reported_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(
        VmError, match=r"1073741824 MiB are needed, \d+ MiB are free on /"
    ) as caught:
        check_writable("kernel cache", tmp_path / "k", 1 << 50)
    assert str(tmp_path / "k") in caught.value.what
    assert not (tmp_path / "k").exists()


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(lambda store: store.fetch("stock"), id="fetch"),
        pytest.param(lambda store: store.build("own"), id="build"),
        pytest.param(lambda store: store.tool("t", "linux-source", ["x"]), id="tool"),
    ],
)
def test_nothing_is_fetched_when_there_is_too_little_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: Callable[[KernelStore], object]
) -> None:
    monkeypatch.setattr(PrivateApt, "update", fail_with(errno.EIO))
    usage = SimpleNamespace(free=10 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    specs = {
        "stock": KernelSpec("stock", "6.1", "amd64", ("linux-image",)),
        "own": KernelSpec("own", "6.1", "own", source="linux-source-6.1"),
    }
    store = KernelStore(specs, tmp_path)
    with pytest.raises(VmError, match="MiB are needed, 10 MiB are free"):
        action(store)


@pytest.mark.parametrize(
    ("check", "path"),
    [
        (check_directory, "/home/a b"),
        (check_directory, "/dev/shm/x"),
        (check_directory, "/home/" + "d" * path_checks.LONGEST_PATH),
        (partial(check_writable, needed=1 << 60), "/tmp/x"),
        *((check_writable, f"/tmp/{number}") for number in sorted(path_checks.STORAGE_ERRORS)),
    ],
)
def test_hint_names_the_directory_to_clone_into(
    monkeypatch: pytest.MonkeyPatch, check: Callable[[str, Path], None], path: str
) -> None:
    if Path(path).name.isdigit():
        monkeypatch.setattr(tempfile, "TemporaryFile", fail_with(int(Path(path).name)))
    with pytest.raises(VmError) as caught:
        check("checkout", Path(path))
    assert re.search(
        r"\b(a|another) directory\b.*\. Clone the repository there, ", caught.value.hint
    )


def test_space_for_the_virtual_environment_is_enough() -> None:
    if not Path(sys.prefix, ".ready").is_file():
        pytest.skip("make did not create the virtual environment of these tests")
    assert size_on_disk(Path(sys.prefix)) < path_checks.VENV_BYTES
    page = (CHECKOUT / "docs/how-to/when-it-does-not-work.md").read_text()
    modules, venv = (
        size // path_checks.MEBIBYTE for size in (path_checks.MODULES_BYTES, path_checks.VENV_BYTES)
    )
    assert f"| {modules} MiB; {venv} MiB before `.venv` exists |" in page


def test_disk_that_fills_up_during_a_copy_is_named(tmp_path: Path) -> None:
    with pytest.raises(VmError, match="A file system is full") as caught, storage_errors(tmp_path):
        fail_with(errno.ENOSPC)()
    assert f"{tmp_path} (on /" in caught.value.what
    error = shutil.Error(
        [("/from", str(tmp_path / "to"), "[Errno 28] No space left on device: '/from'")]
    )
    with pytest.raises(VmError, match="A file system is full") as caught, storage_errors():
        raise error
    assert str(tmp_path / "to") in caught.value.what


def test_error_of_another_kind_is_passed_on() -> None:
    with pytest.raises(FileNotFoundError), storage_errors():
        Path("/nothing/here").read_text()


@pytest.mark.parametrize(
    "line",
    [
        "/tmp/ccX.s: fatal error: error writing to /tmp/ccX.s: No space left on device",
        "dpkg-deb: error: paste subprocess was killed: no space left on device",
        "tar: x: Cannot open: Read-only file system",
        "ld: final link failed: Disk quota exceeded",
    ],
)
def test_full_disk_is_found_in_the_output_of_a_tool(tmp_path: Path, line: str) -> None:
    with pytest.raises(VmError) as caught:
        check_log(f"one\n{line}\nlast", (tmp_path,))
    assert caught.value.log == line
    assert str(tmp_path) in caught.value.what
    check_log("error: something else", (tmp_path,))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_command_reports_an_unexpected_storage_error_in_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def fail(**_: object) -> None:
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == cli.HARNESS_FAILED
    said = capsys.readouterr().err
    assert said.startswith("ksmlab: ")
    assert "/some/file" in said


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        FetchError("It could not be unpacked.", log="dpkg-deb: error: No space left on device"),
    ],
)
def test_full_cache_is_named_whatever_was_writing_an_entry(
    tmp_path: Path, error: Exception
) -> None:
    shelf = tmp_path / "kernels/k"
    with pytest.raises(VmError, match="A file system is full") as caught, scratch(shelf):
        raise error
    assert f"{shelf} (on /" in caught.value.what
    assert not list(shelf.iterdir())


def test_full_file_system_is_the_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    usage = {tmp_path / "full": 0, tmp_path: 1 << 40}
    monkeypatch.setattr(path_checks, "mount_point", lambda path: path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=usage[path]))
    explained = explain(OSError(errno.ENOSPC, "full"), (tmp_path, tmp_path / "full"))
    assert explained is not None
    assert f"writing failed in {tmp_path / 'full'} (on " in explained.what
    assert f"{tmp_path} (on " not in explained.what


def test_mount_point_is_the_nearest_one() -> None:
    """Also of a path that does not exist, and on a file system that every Linux host has."""
    assert path_checks.mount_point(Path("/proc/no/such/file")) == Path("/proc")
    assert path_checks.mount_point(Path("/")) == Path("/")
