"""What is left when everything that is equal has merged. Fill in both functions."""


def frames_left(contents: list[bytes]) -> int:
    """How many frames there are in the end. A page that has no equal keeps its frame."""
    raise NotImplementedError


def pages_shared(contents: list[bytes]) -> int:
    """What the driver's pages_shared says then: the frames that are saved."""
    raise NotImplementedError
