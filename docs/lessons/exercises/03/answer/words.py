"""The words of /proc/self/pagemap, and what a process uses."""


def frame(word: int) -> int | None:
    """Give the frame number in a word of pagemap; None if no page is present."""
    return word & (1 << 55) - 1 if word >> 63 & 1 else None


def shared_frames(one: list[int], other: list[int]) -> int:
    """Say how many frames two ranges both map, given their words."""
    both = {frame(word) for word in one} & {frame(word) for word in other}
    # Two pages that are not there are in no frame, and not in the same one.
    return len(both - {None})


def pss_bytes(map_counts: list[int]) -> float:
    """Give the Pss of a range: for each page that is present, how often its frame is mapped, by anybody."""
    return sum(4096 / count for count in map_counts)
