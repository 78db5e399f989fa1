"""Frames that sharing saves, and frames that it may need again. Complete both functions.

`mappings` has one number for each kernel page: how many entries map it.
"""


def saved(mappings: list[int]) -> int:
    """Return the number of frames saved: pages_shared of the driver, pages_sharing of mainline KSM."""
    raise NotImplementedError


def frames_needed(mappings: list[int], writers: float) -> int:
    """Return how many additional frames are needed at most if a part of all mappings is written.

    A write needs a new frame. When all mappings of a kernel page have been written, its own frame
    is freed. In the worst case, this happens as late as possible.

    Args:
        mappings: see above.
        writers: the fraction of all mappings that is written. Round the number of writes up.
    """
    raise NotImplementedError
