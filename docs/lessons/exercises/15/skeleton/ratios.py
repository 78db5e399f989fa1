"""How many times as much one engine needs as another. Fill in compare()."""


def compare(samples: list[tuple[float, float]]) -> tuple[float, bool]:
    """Compare two engines.

    Args:
        samples: one pair a run: what the one needed, and what the other needed right after it.

    Returns:
        How many times as much the one needs, robust against a run that was disturbed and against a
        machine that grows slower from run to run; and whether all runs agree on which of the two
        needs more.
    """
    raise NotImplementedError
