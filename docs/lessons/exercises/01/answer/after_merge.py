"""The number of frames after a merge."""


def frames_left(contents: list[bytes]) -> int:
    """Return the number of frames after all equal pages have merged."""
    return len(set(contents))


def pages_shared(contents: list[bytes]) -> int:
    """Return the number of frames that the merge saves: pages_shared of the driver, pages_sharing of mainline KSM."""
    return len(contents) - frames_left(contents)
