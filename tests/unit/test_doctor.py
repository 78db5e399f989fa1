"""The doctor: what is missing, and the command that installs it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import virtme.commands.run
import virtme.mkinitramfs

from ksmlab import doctor
from ksmlab.doctor import TEST_NEEDS, Need

SCRIPT = Path(doctor.__file__)
HERE = Need("here", "is here", "pkg-here", lambda: True)
GONE = Need("gone", "is not here", "pkg-gone", lambda: False)


def test_it_runs_without_anything_installed() -> None:
    """As on a bare machine: no site packages, not even its own package."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    assert "qemu-system-x86_64" in done.stdout
    assert not done.stderr


def test_what_only_tests_need_is_left_out_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "NEEDS", (HERE,))
    monkeypatch.setattr(doctor, "TEST_NEEDS", (GONE,))
    monkeypatch.setattr(doctor, "ALL_NEEDS", (HERE, GONE))
    assert doctor.main(["--no-tests"]) == 0
    assert "gone" not in capsys.readouterr().out
    assert doctor.main([]) == 1
    assert "pkg-gone" in capsys.readouterr().out
    assert {need.package for need in TEST_NEEDS} >= {"chromium", "chromium-driver"}


def test_missing_and_report() -> None:
    assert doctor.missing([HERE, GONE]) == [GONE]
    here, gone = doctor.report([HERE, GONE])
    assert here.startswith("ok")
    assert gone.startswith("MISSING")


def test_what_is_only_wanted_is_said_and_never_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [need.what for need in doctor.OPTIONAL] == ["gdb"]
    here, gone = doctor.report_optional([HERE, GONE])
    assert here.startswith("ok")
    assert gone.startswith("without")
    assert gone.endswith("(optional; Debian package pkg-gone)")
    monkeypatch.setattr(doctor, "ALL_NEEDS", (HERE,))
    monkeypatch.setattr(doctor, "report_optional", lambda: [gone])
    assert doctor.main([]) == 0
    assert gone in capsys.readouterr().out


def test_the_exact_command() -> None:
    commands = doctor.install_commands([GONE, GONE])
    assert doctor.shell_line(commands, ["sudo"]) == (
        "sudo apt-get update && sudo apt-get install --yes --no-install-recommends pkg-gone"
    )


def test_without_root_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(doctor, "root_prefix", lambda: None)
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: pytest.fail("it ran something"))
    assert doctor.install([GONE], said.append) is False
    assert "Nothing was installed" in said[-1]
    assert "apt-get install --yes --no-install-recommends pkg-gone" in said[-1]


@pytest.mark.parametrize(("prefix", "first"), [([], "env"), (["sudo"], "sudo")])
def test_with_root_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, prefix: list[str], first: str
) -> None:
    installed: list[list[str]] = []

    def run(argv: list[str], **_kwargs: object) -> SimpleNamespace:
        installed.append(argv)
        return SimpleNamespace(returncode=0)

    need = Need("later", "comes", "pkg-later", lambda: len(installed) == 2)
    monkeypatch.setattr(doctor, "root_prefix", lambda: prefix)
    monkeypatch.setattr(doctor, "has_command", lambda _name: True)
    monkeypatch.setattr(subprocess, "run", run)
    assert doctor.install([need], lambda _line: None) is True
    assert [argv[0] for argv in installed] == [first, first]
    assert installed[1][-1] == "pkg-later"


def test_an_installation_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "root_prefix", list)
    monkeypatch.setattr(doctor, "has_command", lambda _name: True)
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: SimpleNamespace(returncode=100))
    said: list[str] = []
    assert doctor.install([GONE], said.append) is False
    assert "failed" in said[-1]


def test_checks_tell_here_from_gone() -> None:
    assert doctor.has_command("sh")
    assert not doctor.has_command("no-such-command")
    assert doctor.has_library("libc.so.6")
    assert not doctor.has_library("libnothing.so.9")
    assert all(need.package and need.why for need in doctor.NEEDS)


def test_an_old_python_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (99, 0))
    assert "needs 99.0 or newer" in str(doctor.host_problem())


@pytest.mark.parametrize("arguments", [[], ["--install"]])
def test_host_without_apt_is_told_packages_and_what_works_instead_of_a_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    apt = Need("apt-get", "fetches kernels", "apt", lambda: False)
    monkeypatch.setattr(doctor, "ALL_NEEDS", (apt, GONE))
    monkeypatch.setattr(doctor, "has_command", lambda name: name != "apt-get")
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: pytest.fail("it ran something"))
    assert doctor.main(arguments) == 1
    said = capsys.readouterr().out
    assert "Their Debian names are:\n  pkg-gone\n" in said
    assert "make build KDIR" in said
    assert "apt-get install" not in said
    assert "apt-get update" not in said


def test_host_without_apt_can_do_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ALL_NEEDS", (Need("dpkg", "unpacks", "dpkg", lambda: False), HERE))
    monkeypatch.setattr(doctor, "has_command", lambda name: name != "apt-get")
    assert doctor.main(["--install", "--quiet"]) == 0


#: Packages that every Debian has, and every other distribution under some name.
ESSENTIAL = {
    "bash", "cat", "env", "seq", "sh", "sleep", "stty", "sync", "tar", "test", "touch", "true", "uname",
}  # fmt: skip
#: What other packages of the list bring.
PROVIDED = {
    "addr2line": "binutils",
    "apt-cache": "apt",
    "apt-config": "apt",
    "choom": "util-linux",
    "dpkg-deb": "dpkg",
    "insmod": "kmod",
    "mkswap": "util-linux",
    "rmmod": "kmod",
    "setarch": "util-linux",
    "nm": "binutils",
    "strip": "binutils",
    "dmesg": "util-linux",
    "mount": "mount",
    "swapoff": "mount",
    "swapon": "mount",
}
#: Commands that are used if they are there.
SPARED = {"git": "the bench report says that the commit is unknown", "sudo": "root is asked for"}
RUNNERS = {"run", "Popen", "_run", "started", "run_logged", "check_output", "check_call", "call"}


def commands_of(path: Path) -> set[str]:
    """Give the names of the commands that a Python file runs by a list that begins with a literal."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        match node.args[0]:
            case ast.List(elts=[ast.Constant(value=str(command)), *_]) if name in RUNNERS:
                names.add(command)
    return names


def test_every_command_that_is_run_is_in_the_list() -> None:
    root = SCRIPT.parents[2]
    used = {
        command: path
        for directory in ("python", "tests", "docs/recording")
        for path in (root / directory).rglob("*.py")
        for command in commands_of(path)
    }
    assert {"dpkg", "modprobe", "objdump"} <= set(used)
    listed = {need.what for need in doctor.ALL_NEEDS}
    packages = {need.package for need in doctor.ALL_NEEDS}
    unknown = {
        command: path.name
        for command, path in used.items()
        if command not in listed | ESSENTIAL | set(SPARED) and PROVIDED.get(command) not in packages
    }
    assert not unknown


def test_commands_that_virtme_ng_runs_are_in_the_list() -> None:
    source = Path(virtme.commands.run.__file__).read_text()
    listed = {need.what for need in doctor.NEEDS}
    for command in ("file", "depmod", "busybox"):
        assert f'"{command}"' in source + Path(virtme.mkinitramfs.__file__).read_text()
        assert command in listed
