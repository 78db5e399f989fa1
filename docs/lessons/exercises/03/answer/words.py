"""Entries of /proc/self/pagemap, and the memory use of a process."""


def frame(word: int) -> int | None:
    """Return the frame number in a pagemap entry, or None if no page is present."""
    return word & (1 << 55) - 1 if word >> 63 & 1 else None


def shared_frames(one: list[int], other: list[int]) -> int:
    """Return the number of frames that two ranges have in common."""
    both = {frame(word) for word in one} & {frame(word) for word in other}
    # None stands for pages that are not present: they are in no frame.
    return len(both - {None})


def pss_bytes(map_counts: list[int]) -> float:
    """Return the Pss of a range in bytes."""
    return sum(4096 / count for count in map_counts)
