"""Find the pages that another process has, too, by the times of writes. Complete suspects()."""


def suspects(rounds: list[list[int]], factor: float = 3.0) -> list[int]:
    """Find the shared pages.

    Args:
        rounds: one list for each round, with the time of one write to each page, in ns. Noise
            makes times longer, never shorter.
        factor: a write to a shared page takes more than this many times the usual time.

    Returns:
        The numbers of the shared pages, in order.
    """
    raise NotImplementedError
