"""The doctor: what is missing, and the command that installs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

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
    assert gone.endswith("apt-get install pkg-gone")
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
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_a, **_k: pytest.fail("it ran something"))
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
    monkeypatch.setattr(doctor.subprocess, "run", run)
    assert doctor.install([need], lambda _line: None) is True
    assert [argv[0] for argv in installed] == [first, first]
    assert installed[1][-1] == "pkg-later"


def test_an_installation_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "root_prefix", list)
    monkeypatch.setattr(doctor, "has_command", lambda _name: True)
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_a, **_k: SimpleNamespace(returncode=100))
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
    assert "99.0 or newer is needed" in str(doctor.host_problem())
