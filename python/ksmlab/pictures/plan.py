"""What the arena of a picture holds, and which of its pages get written."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass

from ksmlab import content

#: Parts of the equal pages, by content: the first has the most.
SHARES = (8, 5, 4, 3, 2, 2)
#: Of the pages, how many are equal to others.
EQUAL_TENTHS = 6
FEWEST_PAGES = 24
MOST_PAGES = 1024
_UNIQUE = 1 << 20
#: Chosen so that neighbours differ; any other is as good.
_SEED = 5


@dataclass(frozen=True)
class Plan:
    """An arena with some contents that several pages have, spread over it.

    Attributes:
        npages: pages, FEWEST_PAGES to MOST_PAGES.
    """

    npages: int = 96

    def keys(self) -> array[int]:
        """Return the key of each page; equal keys are equal contents. The same each time."""
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
        """Name the contents that several pages have, by page: A is the most common."""
        return {
            page: chr(ord("A") + key - 1) for page, key in enumerate(self.keys()) if key < _UNIQUE
        }

    @property
    def pages_shared(self) -> int:
        """Frames saved, once everything that is equal has merged."""
        return self.npages - len(set(self.keys()))

    def written(self) -> tuple[int, ...]:
        """Return the pages that get written: the first with the most common content, and the first with the rarest."""
        keys = self.keys()
        return keys.index(1), keys.index(len(SHARES))
