"""The check of the commits' messages."""

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


def commit(checkout: Path, subject: str, body: str = "It wastes time.") -> str:
    message = ["--message", subject, "--message", body]
    git(checkout, "commit", "--quiet", "--allow-empty", *message)
    return git(checkout, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    git(tmp_path, "init", "--quiet")
    monkeypatch.setattr(commits, "SUBJECT_BASE", commit(tmp_path, "A subject from before the rule"))
    monkeypatch.setattr(commits, "BODY_BASE", commit(tmp_path, GOOD[0], ""))
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


@pytest.mark.parametrize("body", ["", "Signed-off-by: A B <a@b>\nReviewed-by: C D <c@d>"])
def test_each_commit_without_a_reason_is_named(checkout: Path, body: str) -> None:
    commit(checkout, GOOD[1], body)
    commit(checkout, GOOD[0], "The reason.\n\n" + body)
    with pytest.raises(VmError, match="gives the reason for the change: 1") as raised:
        commits.lint_commits(checkout)
    assert raised.value.log.partition(" ")[2] == GOOD[1]


def test_merge_needs_no_message(checkout: Path) -> None:
    git(checkout, "branch", "side")
    commit(checkout, GOOD[0])
    git(checkout, "checkout", "--quiet", "side")
    commit(checkout, GOOD[1])
    git(checkout, "merge", "--quiet", "--no-edit", "-")
    commits.lint_commits(checkout)


def test_nothing_is_checked_without_a_repository(tmp_path: Path, checkout: Path) -> None:
    assert commits.commits_since(tmp_path / "no repository", commits.SUBJECT_BASE) == []


@pytest.mark.parametrize("base", ["unknown", "rewritten", "not reachable"])
def test_nothing_is_checked_if_head_does_not_descend_from_the_base(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    """A repository can have a base that was on a branch before history was rewritten."""
    if base == "unknown":
        for name in ("SUBJECT_BASE", "BODY_BASE"):
            monkeypatch.setattr(commits, name, "0" * 40)
    elif base == "rewritten":
        git(checkout, "reset", "--quiet", "--soft", commits.SUBJECT_BASE)
        git(checkout, "commit", "--quiet", "--amend", "--allow-empty", "--message", BAD[0])
    else:
        git(checkout, "checkout", "--quiet", "--orphan", "other")
    commit(checkout, BAD[0], "")
    commits.lint_commits(checkout)
