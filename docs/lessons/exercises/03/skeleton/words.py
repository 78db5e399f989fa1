"""Entries of /proc/self/pagemap, and the memory use of a process. Complete the three functions."""


def frame(word: int) -> int | None:
    """Return the frame number in a pagemap entry, or None if no page is present."""
    raise NotImplementedError


def shared_frames(one: list[int], other: list[int]) -> int:
    """Return the number of frames that two ranges have in common.

    Args:
        one: the pagemap entries of the first range.
        other: those of the second range.
    """
    raise NotImplementedError


def pss_bytes(map_counts: list[int]) -> float:
    """Return the Pss of a range in bytes.

    Args:
        map_counts: one number for each present page: how many entries of all processes map its frame.
    """
    raise NotImplementedError
