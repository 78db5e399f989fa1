"""Check the subjects of commits; docs/how-to/commit-a-change.md describes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from pathlib import Path

# The last commit before the rule. Its history is not checked.
BASE = "dd43593358044cd6c662e33e294f5b0c50706177"
MAX_SUBJECT = 72
# Whether a word is an imperative cannot be computed; these begin a summary that is none.
NO_VERB = r"(?:an?|the|this|that|it|what|which|who|where|when|how|why|no|not|all|each|every|only)\b"
SUBJECT = re.compile(rf"[\w./-]+(?:, [\w./-]+)*: (?!(?i:{NO_VERB}))\S.*[^\s.]")


def bad_subjects(checkout: Path) -> list[str]:
    """Return the commits since BASE whose subject breaks the rule, each as abbreviated hash and subject.

    Returns an empty list without git, without a repository, or in a shallow clone that does not reach back to BASE.

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
        raise VmError("git could not list the commits.", log=done.stderr)
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
            f"Commits whose subject is not `area: summary`, at most {MAX_SUBJECT} characters: {len(bad)}.",
            hint="Reword them (git rebase --interactive) as docs/how-to/commit-a-change.md says.",
            log="\n".join(bad),
        )
