"""The ratio of the costs of two engines. Complete compare()."""


def compare(costs: list[tuple[float, float]]) -> tuple[float, bool]:
    """Compare two engines.

    Args:
        costs: one pair for each run: the cost of the first engine, and the cost of the second
            engine, measured right after it.

    Returns:
        The cost of the first engine divided by the cost of the second one; and whether the same
        engine costs more in all runs. The ratio must be right even if one run was disturbed, or if
        the machine becomes slower from run to run.
    """
    raise NotImplementedError
