"""What sharing owes. Fill in both functions.

Sharing is given as a list: how many pages map each kernel page.
"""


def saved(mappings: list[int]) -> int:
    """Return how many frames are saved: pages_shared of the driver, pages_sharing of mainline KSM."""
    raise NotImplementedError


def may_be_wanted(mappings: list[int], writers: float) -> int:
    """How many frames may be wanted at once, if this part of all mappings is written.

    The worst case: of a kernel page that all its sharers write, the frame comes free, so the
    writes fall where that never happens, as far as possible. Round the number of writes up.
    """
    raise NotImplementedError
