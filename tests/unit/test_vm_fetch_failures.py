"""A fetch that fails ends in an error that says what to do: each command and each file operation of it fails here."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_apt import TRIXIE, FakeApt

from ksmlab.vm import apt as apt_module
from ksmlab.vm import kernels as kernels_module
from ksmlab.vm.apt import PrivateApt
from ksmlab.vm.errors import FetchError, VmError
from ksmlab.vm.kernels import KernelStore
from ksmlab.vm.specs import KernelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SPEC = KernelSpec("k", "6.12", "amd64", ("linux-image-amd64",))
SOURCES = "deb http://archive.invalid/debian trixie main\n"
FAULTS = {
    "missing": lambda argv: FileNotFoundError(errno.ENOENT, "No such file or directory", argv[0]),
    "not executable": lambda argv: PermissionError(errno.EACCES, "Permission denied", argv[0]),
    "no memory": lambda _argv: OSError(errno.ENOMEM, "Cannot allocate memory"),
    "hangs": lambda argv: subprocess.TimeoutExpired(argv, 600),
    "fails": lambda _argv: 100,
    "killed": lambda _argv: -9,
    "silent": lambda _argv: 0,
}
#: What a fetch does to the file system, apart from running commands: where to break it.
OPERATIONS = [
    (Path, "mkdir"), (Path, "read_text"), (Path, "rename"), (Path, "symlink_to"), (Path, "touch"),
    (Path, "unlink"), (Path, "write_text"), (Path, "is_dir"), (Path, "glob"), (io, "open"),
    (os, "open"), (tempfile, "mkdtemp"),
]  # fmt: skip


class Commands:
    """Stands in for apt, dpkg and depmod, and makes one of the calls fail.

    Args:
        fault: The result of the call that fails.
        at: Which call that is; none if negative.
    """

    def __init__(self, fault: Callable[[Sequence[str]], Any] | None = None, at: int = -1) -> None:
        self.fault = fault
        self.at = at
        self.calls: list[str] = []
        self.archive = FakeApt(TRIXIE, modules="usr/lib/modules")

    def run(
        self, argv: Sequence[str], *, cwd: Path | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        self.calls.append(" ".join(map(str, argv[:2])))
        outcome: Any = None
        if len(self.calls) - 1 == self.at and self.fault is not None:
            outcome = self.fault(argv)
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome is None:
            if "update" in argv:
                return self.update(Path(options["env"]["APT_CONFIG"]).parent, argv)
            return self._do(argv, cwd)
        return subprocess.CompletedProcess(argv, outcome, "", "what it said\n")

    def update(self, home: Path, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Make a package list, without the operations that this module breaks."""
        with contextlib.suppress(FileExistsError):
            os.mknod(home / "lists/archive.invalid_Packages")
        return subprocess.CompletedProcess(argv, 0, "", "")

    def _do(self, argv: Sequence[str], cwd: Path | None) -> subprocess.CompletedProcess[str]:
        output = ""
        name = Path(argv[0]).name
        if name == "apt-cache":
            spec, _, version = argv[-1].partition("=")
            package = self.archive.show(spec, version or None)
            if package is None:
                return subprocess.CompletedProcess(argv, 100, "", "E: No packages found\n")
            depends = ", ".join(package.depends)
            output = f"Package: {package.name}\nVersion: {package.version}\nDepends: {depends}\n"
        if name == "apt-get" and "download" in argv:
            assert cwd is not None
            # Without the operations that this module breaks.
            os.mknod(cwd / f"{argv[-1].partition('=')[0]}_1_amd64.deb")
        elif name == "dpkg":
            deb, root = Path(argv[2]), Path(argv[3])
            self.archive.unpack(self.archive.packages[deb.name.partition("_")[0]], root)
        return subprocess.CompletedProcess(argv, 0, output, "")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the directory of a host that has a Debian archive."""
    (tmp_path / "etc/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/sources.list").write_text(SOURCES)
    monkeypatch.setattr(
        kernels_module, "PrivateApt", lambda home: PrivateApt(home, etc=tmp_path / "etc")
    )
    for module in (apt_module, kernels_module):
        monkeypatch.setattr(module, "host_codename", lambda: "trixie")
    monkeypatch.setattr("shutil.which", lambda name, **_options: f"/usr/sbin/{name}")
    return tmp_path


def fetch(monkeypatch: pytest.MonkeyPatch, host: Path, commands: Commands) -> KernelStore:
    """Fetch with these commands, and say what is used of the cache afterwards."""
    store = KernelStore({"k": SPEC}, host / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", commands.run)
        store.get("k", lambda _line: None)
    return store


def failure(monkeypatch: pytest.MonkeyPatch, host: Path, commands: Commands) -> VmError | None:
    """Fetch with these commands, and give the error that it ends in; None if it goes well."""
    try:
        fetch(monkeypatch, host, commands)
    except VmError as error:
        return error
    return None


class Unreachable(Commands):
    """An apt without network, whose update prints a warning and ends with status 0."""

    def update(self, _home: Path, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        said = "W: Failed to fetch http://archive.invalid/debian/dists/trixie/InRelease  Could not connect\n"
        return subprocess.CompletedProcess(argv, 0, "", said)


class Broken:
    """A file operation, one call of which fails.

    Args:
        original: The operation.
        number: The errno.
        below: Only calls about files below this directory count.
        at: Which of them fails.
    """

    def __init__(self, original: Callable[..., Any], number: int, below: Path, at: int) -> None:
        self.original, self.number, self.below, self.at = original, number, str(below), at
        self.calls = 0

    @property
    def reached(self) -> bool:
        """Whether the call that fails has come."""
        return self.calls > self.at

    def function(self) -> Callable[..., Any]:
        """Give the operation as a function, which becomes a method where the original was one."""
        # A bound method would not become the method of another class.
        return lambda *arguments, **options: self._call(*arguments, **options)  # noqa: PLW0108

    def _call(self, *arguments: Any, **options: Any) -> Any:
        about = str(arguments[0] if arguments else options.get("dir", ""))
        if about.startswith(self.below):
            self.calls += 1
            if self.calls - 1 == self.at:
                raise OSError(self.number, os.strerror(self.number), about)
        return self.original(*arguments, **options)


def left_over(host: Path) -> list[str]:
    """Give what a fetch has left in the place of the entries."""
    return [path.name for path in (host / "cache/kernels/k").glob("*")]


def good_calls(monkeypatch: pytest.MonkeyPatch, host: Path) -> list[str]:
    """Give the commands of a fetch that goes well, and remove its entry."""
    commands = Commands()
    store = fetch(monkeypatch, host, commands)
    assert store.find("k") is not None
    assert store.remove("k") == 1
    return commands.calls


@pytest.mark.parametrize("fault", FAULTS)
def test_every_command_of_a_fetch_may_fail(
    monkeypatch: pytest.MonkeyPatch, host: Path, fault: str
) -> None:
    calls = good_calls(monkeypatch, host)
    assert {call.split("/")[-1].split()[0] for call in calls} == {
        "apt-config", "apt-get", "apt-cache", "dpkg", "depmod",
    }  # fmt: skip
    for at, call in enumerate(calls):
        error = failure(monkeypatch, host, Commands(FAULTS[fault], at))
        if error is not None:
            assert error.hint or "Use " in error.what, (call, str(error))
            assert not left_over(host), call
        else:
            # apt-get update may fail where old lists are left; a command may be silent where nothing depends on it.
            assert fault in {"fails", "killed", "silent"}, call
            KernelStore({"k": SPEC}, host / "cache").remove("k")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each[0].__name__}.{each[1]}")
def test_every_file_operation_of_a_fetch_may_fail(
    monkeypatch: pytest.MonkeyPatch, host: Path, number: int, operation: tuple[Any, str]
) -> None:
    good_calls(monkeypatch, host)
    owner, name = operation
    failed = 0
    for at in itertools.count():
        broken = Broken(getattr(owner, name), number, host / "cache", at)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken.function())
            error = failure(monkeypatch, host, Commands())
        if error is not None:
            failed += 1
            assert os.strerror(number).lower() in error.what.lower()
            assert error.hint
        store = KernelStore({"k": SPEC}, host / "cache")
        if store.find("k") is not None:
            store.remove("k")
        if not broken.reached:
            break
    assert failed or not at or name in {"glob", "is_dir"}, "an error was ignored"


def test_interrupted_fetch_leaves_nothing(monkeypatch: pytest.MonkeyPatch, host: Path) -> None:
    def interrupt(_argv: Sequence[str]) -> BaseException:
        return KeyboardInterrupt()

    for at, call in enumerate(good_calls(monkeypatch, host)):
        with pytest.raises(KeyboardInterrupt):
            fetch(monkeypatch, host, Commands(interrupt, at))
        assert not left_over(host), call


def test_every_command_of_a_tool_and_of_a_build_may_fail(
    monkeypatch: pytest.MonkeyPatch, host: Path
) -> None:
    built = KernelSpec("b", "6.12", "lab", source="linux-source-6.12")
    for at in range(6):
        for fault in FAULTS.values():
            store = KernelStore({"b": built}, host / "cache")
            commands = Commands(fault, at)
            with monkeypatch.context() as patch:
                patch.setattr(subprocess, "run", commands.run)
                with pytest.raises(VmError):
                    store.tool("t", "linux-source-6.12", ["x"], lambda _line: None)
                with pytest.raises(VmError):
                    store.build("b", lambda _line: None)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda etc: (etc / "sources.list").unlink(), "No package source for trixie"),
        (lambda etc: (etc / "sources.list").write_bytes(b"\xff\xfe"), "No package source"),
        (lambda etc: (etc / "sources.list").write_text("deb [x"), "No package source"),
        (
            lambda etc: ((etc / "sources.list").unlink(), (etc / "sources.list").mkdir()),
            "No package source",
        ),
        (
            lambda etc: (
                (etc / "sources.list").unlink(),
                (etc / "sources.list.d").rmdir(),
                etc.rmdir(),
            ),
            "No package source",
        ),
    ],
)
def test_host_without_usable_package_sources_is_told_what_works(
    monkeypatch: pytest.MonkeyPatch, host: Path, break_it: Callable[[Path], object], message: str
) -> None:
    break_it(host / "etc")
    with pytest.raises(FetchError, match=message) as caught:
        fetch(monkeypatch, host, Commands())
    assert "debootstrap" in caught.value.hint


def test_unreadable_source_of_a_third_party_is_left_out(
    monkeypatch: pytest.MonkeyPatch, host: Path
) -> None:
    (host / "etc/sources.list.d/third.list").mkdir()
    assert fetch(monkeypatch, host, Commands()).find("k") is not None


@pytest.mark.parametrize("text", [None, "", "ID=arch\n", 'VERSION_CODENAME=""\n'])
def test_host_without_a_release_name_is_told_what_works(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "os-release"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FetchError) as caught:
        apt_module.host_codename(path)
    assert "Debian 12 or 13" in caught.value.hint


def test_server_that_cannot_be_reached_is_named_by_each_command(
    monkeypatch: pytest.MonkeyPatch, host: Path
) -> None:
    built = KernelSpec("b", "6.12", "lab", source="linux-source-6.12", tested=True)
    store = KernelStore({"k": SPEC, "b": built}, host / "cache")
    monkeypatch.setattr(subprocess, "run", Unreachable().run)
    for ask in (
        lambda: store.choose(["k"]),
        lambda: store.available(["k"]),
        lambda: store.get("k"),
        lambda: store.get("b"),
        lambda: store.tool("t", "linux-source", ["x"]),
    ):
        with pytest.raises(FetchError) as caught:
            ask()
        assert caught.value.what == (
            "The package lists of http://archive.invalid/debian could not be downloaded."
        )
        assert "Check the network" in caught.value.hint
        assert "Debian 12" not in str(caught.value)


def test_update_that_does_not_end_names_the_servers(
    monkeypatch: pytest.MonkeyPatch, host: Path
) -> None:
    error = failure(monkeypatch, host, Commands(FAULTS["hangs"], 1))
    assert error is not None
    assert "`apt-get update` did not end" in error.what
    assert "http://archive.invalid/debian" in error.hint
