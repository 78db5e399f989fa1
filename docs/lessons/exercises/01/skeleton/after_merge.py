"""Predict the result of a merge. Complete both functions."""


def frames_left(contents: list[bytes]) -> int:
    """Return the number of frames after the merge. A page that is not equal to any other page keeps its frame."""
    raise NotImplementedError


def pages_shared(contents: list[bytes]) -> int:
    """Return the number of frames that the merge saves. The driver calls it pages_shared, mainline pages_sharing."""
    raise NotImplementedError
