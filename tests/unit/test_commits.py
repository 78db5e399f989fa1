"""The check of the commits' subjects."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ksmlab import commits
from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = (
    "scan: skip pages that are on the swap device",
    "tests/vm, docs: wait for the end of a pass",
    "README: name the authors of the series",
    "a: " + "x" * 69,
)
BAD = (
    "tests: which index the driver has is asked in one place",
    "scan: The scanner skips swapped pages",
    "skip pages that are on the swap device",
    "scan:skip swapped pages",
    "scan: skip swapped pages.",
    "fixup! scan: skip swapped pages",
    "a: " + "x" * 70,
)


def git(checkout: Path, *argv: str) -> str:
    name = ["-c", "user.name=x", "-c", "user.email=x@x"]
    argv = ("git", "-C", str(checkout), *name, *argv)
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def commit(checkout: Path, subject: str) -> str:
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", subject)
    return git(checkout, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    git(tmp_path, "init", "--quiet")
    monkeypatch.setattr(commits, "BASE", commit(tmp_path, "A subject from before the rule"))
    return tmp_path


@pytest.mark.parametrize("subject", GOOD)
def test_subject_in_the_form_is_accepted(checkout: Path, subject: str) -> None:
    commit(checkout, subject)
    commits.lint_commits(checkout)


@pytest.mark.parametrize("subject", BAD)
def test_each_commit_with_another_subject_is_named(checkout: Path, subject: str) -> None:
    commit(checkout, subject)
    commit(checkout, GOOD[0])
    with pytest.raises(VmError, match="at most 72 characters: 1") as raised:
        commits.lint_commits(checkout)
    assert raised.value.log.partition(" ")[2] == subject


def test_nothing_is_checked_without_a_repository_or_without_the_base(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(checkout, BAD[0])
    assert commits.bad_subjects(tmp_path / "no repository") == []
    monkeypatch.setattr(commits, "BASE", "0" * 40)
    assert commits.bad_subjects(checkout) == []
