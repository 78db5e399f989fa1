"""Frames that sharing saves, and frames that writes may use again. Complete both functions.

`mappings` has one number for each kernel page: how many entries map it.
"""


def saved(mappings: list[int]) -> int:
    """Return the number of frames saved: pages_shared of the driver, pages_sharing of mainline KSM."""
    raise NotImplementedError


def frames_added(mappings: list[int], written: float) -> int:
    """Return how many more frames are in use, in the worst case, after a part of all mappings was written.

    Each write allocates a frame for the copy. After the last mapping of a kernel page has been written, the frame of
    the kernel page is freed. (While this copy is made, both frames are in use. Ignore this moment.) The worst case is
    the choice of mappings for which the result is largest.

    Args:
        mappings: see above.
        written: the fraction of all mappings that was written, each at most once. Round the number of writes up.
    """
    raise NotImplementedError
