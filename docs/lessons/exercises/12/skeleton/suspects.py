"""Which guesses somebody else has, by write times. Fill in suspects()."""


def suspects(rounds: list[list[int]], factor: float = 3.0) -> list[int]:
    """Say which pages are shared.

    Args:
        rounds: how long one write to each page took, in ns; one list a round, pages in order.
        factor: how many times as long as usual a write to a shared page takes at least.

    Returns:
        The numbers of the pages. Noise makes times longer, never shorter.
    """
    raise NotImplementedError
