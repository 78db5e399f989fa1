"""What a page holds: 4096 bytes that follow from a seed and a key.

All pages with one seed share a random-looking template; the key of the page is written over
some of its 64-bit words. Two pages are equal if and only if seed, key and words are. Nothing
here walks over bytes, so that filling and checking is quick even under emulation.
"""

from __future__ import annotations

import random
from array import array
from typing import TYPE_CHECKING

from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WORD = 8
WORDS = PAGE_SIZE // WORD

#: The first word of every cache line: pages with different keys differ early, and everywhere.
EVERY_LINE: tuple[int, ...] = tuple(range(0, WORDS, 8))
#: The last word alone: pages with different keys have a long common prefix.
LAST_WORD: tuple[int, ...] = (WORDS - 1,)


def equal(npages: int, key: int = 1) -> array[int]:
    """Return keys that make all pages equal."""
    return array("Q", [key]) * npages


def groups(npages: int, size: int, first: int = 1) -> array[int]:
    """Return keys of neighbours: each ``size`` pages in a row are equal, the groups are not.

    Args:
        npages: how many keys.
        size: pages of one group; 2 makes pairs.
        first: key of the first group, the others count up from there.
    """
    return array("Q", (first + page // size for page in range(npages)))


def cycle(npages: int, kinds: int, first: int = 1) -> array[int]:
    """Return keys that repeat: page 0, ``kinds``, 2 * ``kinds`` ... are equal.

    Args:
        npages: how many keys.
        kinds: how many different contents there are.
        first: key of page 0, the next kinds count up from there.
    """
    kind = array("Q", range(first, first + kinds))
    return (kind * (npages // kinds + 1))[:npages]


def unique(npages: int, first: int = 1) -> array[int]:
    """Return keys that make every page different, counting up from ``first``."""
    return array("Q", range(first, first + npages))


def salted(keys: Iterable[int], salt: int) -> array[int]:
    """Return keys that equal no key of another salt.

    Args:
        keys: numbers below 2**40.
        salt: 0 to 2**24 - 1, for example the number of a process.
    """
    return array("Q", (salt << 40 | key for key in keys))


class Content:
    """Makes pages of a seed.

    Args:
        seed: chooses the template.
        words: which of the 512 words of a page take the key.
    """

    def __init__(self, seed: int = 0, words: Sequence[int] = EVERY_LINE) -> None:
        """Build the template; the same seed gives the same one in every process."""
        if not words or not all(0 <= word < WORDS for word in words):
            raise ValueError(f"words of a page are 0 to {WORDS - 1}, and at least one")
        self.seed = seed
        self.words = tuple(words)
        self._template = random.Random(seed).randbytes(PAGE_SIZE)

    def page(self, key: int) -> bytes:
        """Return the content of one page."""
        image = bytearray(self._template)
        self.apply(memoryview(image), array("Q", [key]))
        return bytes(image)

    def fill(self, target: memoryview[int], keys: array[int]) -> None:
        """Write whole pages.

        Args:
            target: bytes of ``len(keys)`` pages.
            keys: one a page.
        """
        target[:] = self._template * len(keys)
        self.apply(target, keys)

    def apply(self, target: memoryview[int], keys: array[int]) -> None:
        """Write the keys alone, into pages that hold the template already.

        Args:
            target: bytes of ``len(keys)`` pages.
            keys: one a page.
        """
        words = target.cast("Q")
        source = memoryview(keys)
        for word in self.words:
            words[word::WORDS] = source
