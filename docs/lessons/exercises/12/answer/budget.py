"""Frames that sharing saves, and frames that writes may use again.

`mappings` has one number for each kernel page: how many entries map it.
"""

import math


def saved(mappings: list[int]) -> int:
    """Return the number of frames saved: pages_shared of the driver, pages_sharing of mainline KSM."""
    return sum(count - 1 for count in mappings)


def frames_added(mappings: list[int], written: float) -> int:
    """Return how many more frames are in use, in the worst case, after a part of all mappings was written."""
    writes = math.ceil(sum(mappings) * written)
    # Writes to all mappings except one of each kernel page free no frame. There are saved(mappings) of these. Each
    # further write allocates a frame, and frees that of a kernel page.
    return min(writes, saved(mappings))
