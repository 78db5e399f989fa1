"""Find the guesses that another process has in its memory, by write times. Fill in suspects()."""


def suspects(rounds: list[list[int]], factor: float = 3.0) -> list[int]:
    """Find the shared pages.

    Args:
        rounds: how long one write to each page took, in ns; one list a round, pages in order.
        factor: how many times as long as usual a write to a shared page takes at least.

    Returns:
        The numbers of the pages. Noise makes times longer, never shorter.
    """
    raise NotImplementedError
