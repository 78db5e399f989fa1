"""Read Kconfig fragments, and check that a finished configuration has the options that they set.

A fragment is a file in vm/kconfig. It begins with a comment that says why a kernel needs its options. Kconfig silently
ignores an option whose dependencies are not met, so the finished configuration has to be compared with the fragments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError
from ksmlab.vm.failures import cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

UNSET = "n"
_SET = re.compile(r"^CONFIG_(\w+)=(.+)$")
_NOT_SET = re.compile(r"^# CONFIG_(\w+) is not set$")


@dataclass(frozen=True)
class Fragment:
    """A Kconfig fragment.

    Attributes:
        name: The file's name, without .config.
        reason: The comment at the beginning of the file, which says why a kernel needs these options.
        wants: The values by option, without the prefix CONFIG_. The value is "n" for an option that must be off.
    """

    name: str
    reason: str
    wants: Mapping[str, str]


@dataclass(frozen=True)
class Lost:
    """An option that has another value in the finished configuration than in a fragment."""

    fragment: str
    option: str
    wanted: str
    got: str

    def __str__(self) -> str:
        """Describe the option and both values."""
        return f"{self.fragment}: CONFIG_{self.option} is {self.got} instead of {self.wanted}"


def options(text: str) -> dict[str, str]:
    """Return the options of a configuration or a part of one, as values by name; "n" for "is not set"."""
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
        VmError: The file cannot be read, does not begin with a comment, or has a line that is neither an option nor a
            comment.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise VmError(
            f"The Kconfig fragment {path.stem} cannot be read: {cause(error)}.",
            untouched="Nothing was built.",
            hint="A kernel in vm/kernels.toml uses it, so it must be in vm/kconfig. Correct the name, or add the file.",
        ) from error
    first = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    reason = " ".join(line.removeprefix("#").strip() for line in lines[:first])
    strange = [
        line for line in lines if line.strip() and not line.startswith("#") and not _SET.match(line)
    ]
    if strange or not reason:
        raise VmError(
            f"{path} "
            + (
                f"has a line that is not an option: {strange[0]}."
                if strange
                else "does not begin with a comment."
            ),
            untouched="Nothing was built.",
            hint="Begin the file with a comment that gives the reason for its options. "
            "Write each option as CONFIG_NAME=value; the value n turns it off.",
        )
    return Fragment(path.stem, reason, options("\n".join(lines)))


def merged(fragments: Iterable[Fragment]) -> str:
    """Combine fragments into the text of one file, for KCONFIG_ALLCONFIG.

    Raises:
        VmError: Two fragments set an option to different values.
    """
    values: dict[str, tuple[str, str]] = {}
    for fragment in fragments:
        for option, value in fragment.wants.items():
            before, owner = values.setdefault(option, (value, fragment.name))
            if before != value:
                raise VmError(
                    f"The Kconfig fragments {owner} and {fragment.name} cannot be combined: "
                    f"they set CONFIG_{option} to {before} and to {value}.",
                    untouched="Nothing was built.",
                    hint="Remove one of them from the kernel's table in vm/kernels.toml.",
                )
    return "".join(f"CONFIG_{option}={value}\n" for option, (value, _) in values.items())


def lost(fragments: Sequence[Fragment], config: str) -> list[Lost]:
    """Find the options of fragments that have another value in a finished configuration.

    Args:
        fragments: The fragments.
        config: The text of the kernel's .config.

    Returns:
        The options that differ, in the order of the fragments.
    """
    got = options(config)
    return [
        Lost(fragment.name, option, wanted, got.get(option, UNSET))
        for fragment in fragments
        for option, wanted in fragment.wants.items()
        if got.get(option, UNSET) != wanted
    ]
