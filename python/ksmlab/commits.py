"""Check the messages of commits, as described in docs/how-to/commit-a-change.md."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from pathlib import Path

# The last commits before the rule about subjects and the one about bodies. They and their ancestors are not checked.
SUBJECT_BASE = "dd43593358044cd6c662e33e294f5b0c50706177"
BODY_BASE = "b3dce26094d2d9588ea69194fdfbb5681982e21b"
MAX_SUBJECT = 72
# A pattern cannot recognise an imperative, but a summary that begins with one of these words has none.
NO_VERB = r"(?:an?|the|this|that|it|what|which|who|where|when|how|why|no|not|all|each|every|only)\b"
SUBJECT = re.compile(rf"[\w./-]+(?:, [\w./-]+)*: (?!(?i:{NO_VERB}))\S.*[^\s.]")
# Lines such as "Signed-off-by: NAME" give no reason.
TRAILER = re.compile(r"[\w-]+-by: .*")


@dataclass(frozen=True)
class Commit:
    """A commit.

    Attributes:
        name: Its abbreviated hash.
        subject: The first paragraph of its message.
        body: The rest of its message.
    """

    name: str
    subject: str
    body: str

    @property
    def has_form(self) -> bool:
        """Whether the subject obeys the rule."""
        return len(self.subject) <= MAX_SUBJECT and SUBJECT.fullmatch(self.subject) is not None

    @property
    def has_reason(self) -> bool:
        """Whether the body has text besides trailers."""
        return any(line and not TRAILER.fullmatch(line) for line in self.body.splitlines())


def commits_since(checkout: Path, base: str) -> list[Commit]:
    """Return the commits since a base, except for merges.

    The list is empty if git is not installed, if there is no repository, or if HEAD does not descend from the base, for
    example in a shallow clone or after history was rewritten.

    Raises:
        VmError: git could not list the commits.
    """
    if shutil.which("git") is None or not (checkout / ".git").exists():
        return []
    git = ["git", "-C", str(checkout)]
    descends = [*git, "merge-base", "--is-ancestor", base, "HEAD"]
    if subprocess.run(descends, capture_output=True, check=False).returncode:
        return []
    argv = [*git, "log", "-z", "--no-merges", "--format=%h%n%s%n%b", f"{base}..HEAD"]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise VmError(
            f"git could not list the commits of {checkout}.",
            hint="The message of git is above.",
            log=done.stderr,
        )
    return [Commit(*text.split("\n", 2)) for text in done.stdout.split("\0") if text]


def reject(bad: list[Commit], what: str) -> None:
    """Raise an error that names the commits, if there are any.

    Args:
        bad: The commits that break a rule.
        what: The end of a sentence that begins with "Commits".

    Raises:
        VmError: There is such a commit.
    """
    if bad:
        raise VmError(
            f"Commits {what}: {len(bad)}.",
            hint="Reword them (git rebase --interactive) as described in docs/how-to/commit-a-change.md.",
            log="\n".join(f"{each.name} {each.subject}" for each in bad),
        )


def lint_commits(checkout: Path) -> None:
    """Check the subject and the body of each commit since the rule about it.

    Raises:
        VmError: A commit breaks a rule.
    """
    reject(
        [each for each in commits_since(checkout, SUBJECT_BASE) if not each.has_form],
        "whose subject does not have the form `area: imperative summary` "
        f"with at most {MAX_SUBJECT} characters",
    )
    reject(
        [each for each in commits_since(checkout, BODY_BASE) if not each.has_reason],
        "without a body, which gives the reason for the change",
    )
