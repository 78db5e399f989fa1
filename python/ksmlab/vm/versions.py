"""The order of Debian's version numbers (deb-version(7)), without dpkg, which not every host has."""

from __future__ import annotations

import re

Key = tuple[tuple[tuple[int, ...], int], ...]
PIECE = re.compile(r"(\D*)(\d*)")
#: After every letter, where a character stands that is none.
AFTER_LETTERS = 256


def version_key(version: str) -> tuple[int, Key, Key]:
    """Give what to sort versions by: the oldest first."""
    epoch, _, rest = version.rpartition(":")
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch or 0), _key(upstream), _key(revision)


def _key(part: str) -> Key:
    """Cut a part into what is no number and what is one, by turns."""
    return tuple(
        ((*map(_order, text), 0), int(number or 0)) for text, number in PIECE.findall(part)
    )


def _order(character: str) -> int:
    """Give the place of a character: a tilde before everything, also before the end (0), and letters before others."""
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + AFTER_LETTERS
