"""What sharing owes.

Sharing is given as a list: how many pages map each kernel page.
"""

import math


def saved(mappings: list[int]) -> int:
    """Return how many frames are saved: pages_shared of the driver, pages_sharing of mainline KSM."""
    return sum(count - 1 for count in mappings)


def may_be_wanted(mappings: list[int], writers: float) -> int:
    """How many frames may be wanted at once, if this part of all mappings is written."""
    writes = math.ceil(sum(mappings) * writers)
    # Each write wants a frame; the last sharer of a kernel page gives its frame back.
    return min(writes, saved(mappings))
