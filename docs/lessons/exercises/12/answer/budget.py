"""Frames that sharing saves, and frames that it may need again.

`mappings` has one number for each kernel page: how many entries map it.
"""

import math


def saved(mappings: list[int]) -> int:
    """Return the number of frames saved: pages_shared of the driver, pages_sharing of mainline KSM."""
    return sum(count - 1 for count in mappings)


def frames_needed(mappings: list[int], writers: float) -> int:
    """Return how many additional frames are needed at most if a part of all mappings is written."""
    writes = math.ceil(sum(mappings) * writers)
    # Each write needs a frame; the last write to a kernel page also frees one.
    return min(writes, saved(mappings))
