"""Kconfig fragments: what a kernel that we build must have, grouped by the reason why, and what of it survived.

Kconfig drops a wish without a word when something that it depends on is missing, so the finished configuration is
compared with the wishes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

UNSET = "n"
_SET = re.compile(r"^CONFIG_(\w+)=(.+)$")
_NOT_SET = re.compile(r"^# CONFIG_(\w+) is not set$")


@dataclass(frozen=True)
class Fragment:
    """A file of wishes.

    Attributes:
        name: The file's name, without .config.
        reason: The comment that it begins with: why these options are wanted.
        wants: Value by option, without CONFIG_; "n" for one that must be off.
    """

    name: str
    reason: str
    wants: Mapping[str, str]


@dataclass(frozen=True)
class Lost:
    """A wish that the finished configuration does not meet."""

    fragment: str
    option: str
    wanted: str
    got: str

    def __str__(self) -> str:
        """Name all of it."""
        return f"{self.fragment}: CONFIG_{self.option}={self.wanted} was wanted, it is {self.got}"


def options(text: str) -> dict[str, str]:
    """Read a configuration, or a part of one: value by option, "n" for one that is said to be off."""
    found = {}
    for line in text.splitlines():
        if match := _SET.match(line):
            found[match[1]] = match[2]
        elif match := _NOT_SET.match(line):
            found[match[1]] = UNSET
    return found


def read_fragment(path: Path) -> Fragment:
    """Read a fragment.

    Raises:
        VmError: It cannot be read, does not begin with its reason, or has a line that is no wish and no comment.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise VmError(
            f"The Kconfig fragment {path.stem} cannot be read: {error}.",
            untouched="Nothing was built.",
            hint="vm/kernels.toml names it; it must be in vm/kconfig.",
        ) from error
    first = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    reason = " ".join(line.removeprefix("#").strip() for line in lines[:first])
    strange = [
        line for line in lines if line.strip() and not line.startswith("#") and not _SET.match(line)
    ]
    if strange or not reason:
        raise VmError(
            f"{path} {'has a line that is no option: ' + strange[0] if strange else 'does not say why it is there'}.",
            untouched="Nothing was built.",
            hint="A fragment begins with a comment that says why, then come lines CONFIG_NAME=value (n: off).",
        )
    return Fragment(path.stem, reason, options("\n".join(lines)))


def merged(fragments: Iterable[Fragment]) -> str:
    """Make one text of several fragments, for KCONFIG_ALLCONFIG.

    Raises:
        VmError: Two of them want different values of one option.
    """
    values: dict[str, tuple[str, str]] = {}
    for fragment in fragments:
        for option, value in fragment.wants.items():
            before, owner = values.setdefault(option, (value, fragment.name))
            if before != value:
                raise VmError(
                    f"{owner} wants CONFIG_{option}={before}, {fragment.name} wants {value}: they cannot be together.",
                    untouched="Nothing was built.",
                )
    return "".join(f"CONFIG_{option}={value}\n" for option, (value, _) in values.items())


def lost(fragments: Sequence[Fragment], config: str) -> list[Lost]:
    """Compare wishes with a finished configuration.

    Args:
        fragments: The wishes.
        config: The text of the kernel's .config.

    Returns:
        What did not survive, in the order of the fragments.
    """
    got = options(config)
    return [
        Lost(fragment.name, option, wanted, got.get(option, UNSET))
        for fragment in fragments
        for option, wanted in fragment.wants.items()
        if got.get(option, UNSET) != wanted
    ]
