"""Compare Debian version numbers (deb-version(7)) without dpkg, which some hosts lack."""

from __future__ import annotations

import re

Key = tuple[tuple[tuple[int, ...], int], ...]
PIECE = re.compile(r"(\D*)(\d*)")
#: Added to characters that are not letters, so that they are sorted after all letters.
AFTER_LETTERS = 256


def version_key(version: str) -> tuple[int, Key, Key]:
    """Return a key that sorts versions, the oldest first."""
    epoch, _, rest = version.rpartition(":")
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch or 0), _key(upstream), _key(revision)


def _key(part: str) -> Key:
    """Split a part into alternating non-numbers and numbers."""
    return tuple(
        ((*map(_order, text), 0), int(number or 0)) for text, number in PIECE.findall(part)
    )


def _order(character: str) -> int:
    """Return the rank of a character: a tilde precedes everything, even the end (0); letters precede the others."""
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + AFTER_LETTERS
