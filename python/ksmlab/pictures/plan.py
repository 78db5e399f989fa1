"""The contents of the arena of a picture, and the pages that are written to."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass

from ksmlab import content

#: The relative numbers of pages with each repeated content, the most common content first.
SHARES = (8, 5, 4, 3, 2, 2)
#: The number of pages, in tenths, that are equal to others.
EQUAL_TENTHS = 6
FEWEST_PAGES = 24
MOST_PAGES = 1024
_UNIQUE = 1 << 20
#: With this seed, few adjacent pages are equal. Other seeds would work as well.
_SEED = 5


@dataclass(frozen=True)
class Plan:
    """An arena in which some contents are repeated, in random order.

    Attributes:
        npages: The number of pages, from FEWEST_PAGES to MOST_PAGES.
    """

    npages: int = 96

    def keys(self) -> array[int]:
        """Return the key of each page. Pages with equal keys have equal contents. The keys are the same in each run."""
        equal = self.npages * EQUAL_TENTHS // 10
        keys = [
            kind
            for kind, share in enumerate(SHARES, start=1)
            for _ in range(max(2, equal * share // sum(SHARES)))
        ]
        keys += content.unique(self.npages - len(keys), _UNIQUE)
        random.Random(_SEED).shuffle(keys)
        return array("Q", keys)

    def labels(self) -> dict[int, str]:
        """Return a letter for each page whose content is repeated. A is the most common content."""
        return {
            page: chr(ord("A") + key - 1) for page, key in enumerate(self.keys()) if key < _UNIQUE
        }

    @property
    def pages_shared(self) -> int:
        """The number of frames saved after all equal pages have merged."""
        return self.npages - len(set(self.keys()))

    def written(self) -> tuple[int, ...]:
        """Return the pages to write to: the first with the most common content, and the first with the rarest."""
        keys = self.keys()
        return keys.index(1), keys.index(len(SHARES))
