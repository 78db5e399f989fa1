"""Generate the content of pages: 4096 bytes that depend on a seed and a key.

All pages with the same seed have the same random-looking template, in which some 64-bit words are replaced by the key
of the page. Two pages are equal if and only if they have the same seed, key and words. There are no loops over single
bytes, so filling and checking pages is fast even under emulation.
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

#: The first word of each cache line. Pages with different keys differ in all cache lines.
EVERY_LINE: tuple[int, ...] = tuple(range(0, WORDS, 8))
#: Only the last word. Pages with different keys have a long common prefix.
LAST_WORD: tuple[int, ...] = (WORDS - 1,)


def equal(npages: int, key: int = 1) -> array[int]:
    """Return keys that make all pages equal."""
    return array("Q", [key]) * npages


def groups(npages: int, size: int, first: int = 1) -> array[int]:
    """Return keys for groups of adjacent pages. The pages of a group are equal, and different groups differ.

    Args:
        npages: The number of keys.
        size: The number of pages in a group, for example 2 for pairs.
        first: The key of the first group. The keys of the following groups count up from it.
    """
    return array("Q", (first + page // size for page in range(npages)))


def cycle(npages: int, kinds: int, first: int = 1) -> array[int]:
    """Return keys that repeat after ``kinds`` pages: the pages 0, ``kinds``, 2 * ``kinds`` and so on are equal.

    Args:
        npages: The number of keys.
        kinds: The number of different keys.
        first: The key of page 0. The keys of the following pages count up from it.
    """
    kind = array("Q", range(first, first + kinds))
    return (kind * (npages // kinds + 1))[:npages]


def unique(npages: int, first: int = 1) -> array[int]:
    """Return keys that make all pages different. The keys count up from ``first``."""
    return array("Q", range(first, first + npages))


def salted(keys: Iterable[int], salt: int) -> array[int]:
    """Return keys that differ from all keys with another salt.

    Args:
        keys: Numbers below 2**40.
        salt: A number from 0 to 2**24 - 1, for example the number of a process.
    """
    return array("Q", (salt << 40 | key for key in keys))


class Content:
    """Generates pages from a seed and keys.

    Args:
        seed: The seed of the template.
        words: The numbers of the words, of the 512 words of a page, that contain the key.

    Raises:
        ValueError: There are no words, or a number is out of range.
    """

    def __init__(self, seed: int = 0, words: Sequence[int] = EVERY_LINE) -> None:
        """Create the template. It is the same for the same seed in all processes."""
        if not words or not all(0 <= word < WORDS for word in words):
            raise ValueError(
                f"words must contain at least one number, and only numbers from 0 to {WORDS - 1}: {words}"
            )
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
            target: The memory of ``len(keys)`` pages.
            keys: The key of each page.
        """
        target[:] = self._template * len(keys)
        self.apply(target, keys)

    def apply(self, target: memoryview[int], keys: array[int]) -> None:
        """Write only the keys, to pages that already contain the template.

        Args:
            target: The memory of ``len(keys)`` pages.
            keys: The key of each page.
        """
        words = target.cast("Q")
        source = memoryview(keys)
        for word in self.words:
            words[word::WORDS] = source
