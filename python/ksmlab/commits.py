"""Check the subjects of commits, as described in docs/how-to/commit-a-change.md."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from pathlib import Path

# The last commit before the rule was introduced. It and its ancestors are not checked.
BASE = "dd43593358044cd6c662e33e294f5b0c50706177"
MAX_SUBJECT = 72
# A pattern cannot recognise an imperative, but a summary that begins with one of these words has none.
NO_VERB = r"(?:an?|the|this|that|it|what|which|who|where|when|how|why|no|not|all|each|every|only)\b"
SUBJECT = re.compile(rf"[\w./-]+(?:, [\w./-]+)*: (?!(?i:{NO_VERB}))\S.*[^\s.]")


def bad_subjects(checkout: Path) -> list[str]:
    """Return the commits since BASE whose subject breaks the rule, each as an abbreviated hash and the subject.

    The list is empty if git is not installed, if there is no repository, or if a shallow clone does not have BASE.

    Raises:
        VmError: git could not list the commits.
    """
    if shutil.which("git") is None or not (checkout / ".git").exists():
        return []
    git = ["git", "-C", str(checkout)]
    if subprocess.run([*git, "cat-file", "-e", BASE], capture_output=True, check=False).returncode:
        return []
    argv = [*git, "log", "--no-merges", "--format=%h %s", f"{BASE}..HEAD"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmError(
            f"git could not list the commits of {checkout}.",
            hint="The message of git is above.",
            log=done.stderr,
        )
    return [
        line
        for line in done.stdout.splitlines()
        if len(subject := line.partition(" ")[2]) > MAX_SUBJECT or not SUBJECT.fullmatch(subject)
    ]


def lint_commits(checkout: Path) -> None:
    """Check the subject of every commit since BASE.

    Raises:
        VmError: A subject breaks the rule.
    """
    if bad := bad_subjects(checkout):
        raise VmError(
            "Commits whose subject does not have the form `area: imperative summary` "
            f"with at most {MAX_SUBJECT} characters: {len(bad)}.",
            hint="Reword them (git rebase --interactive) as described in docs/how-to/commit-a-change.md.",
            log="\n".join(bad),
        )
