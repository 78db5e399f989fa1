"""The number of frames after a merge. Complete both functions."""


def frames_left(contents: list[bytes]) -> int:
    """Return the number of frames after all equal pages have merged.

    Args:
        contents: the content of each page. A page without a match keeps its frame.
    """
    raise NotImplementedError


def pages_shared(contents: list[bytes]) -> int:
    """Return the number of frames that the merge saves: pages_shared of the driver, pages_sharing of mainline KSM."""
    raise NotImplementedError
