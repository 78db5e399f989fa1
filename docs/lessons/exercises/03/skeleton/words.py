"""The words of /proc/self/pagemap, and what a process uses. Fill in the three functions."""


def frame(word: int) -> int | None:
    """Give the frame number in a word of pagemap; None if no page is present."""
    raise NotImplementedError


def shared_frames(one: list[int], other: list[int]) -> int:
    """Say how many frames two ranges both map, given their words."""
    raise NotImplementedError


def pss_bytes(map_counts: list[int]) -> float:
    """Give the Pss of a range: for each page that is present, how often its frame is mapped, by anybody."""
    raise NotImplementedError
