"""What is left when everything that is equal has merged."""


def frames_left(contents: list[bytes]) -> int:
    """How many frames there are in the end. A page that has no equal keeps its frame."""
    return len(set(contents))


def pages_shared(contents: list[bytes]) -> int:
    """Return what the driver's pages_shared says then: the frames saved (mainline's pages_sharing)."""
    return len(contents) - frames_left(contents)
