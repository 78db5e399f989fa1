"""Ratios of costs on machines that other programs use, too."""

import pytest
from ratios import compare


def check(costs: list[tuple[float, float]], ratio: float, agreed: bool, story: str) -> None:
    """Compare the return value of compare() with the right one."""
    got, same = compare(costs)
    assert got == pytest.approx(ratio), (
        f"{story} The ratio must be {ratio}; compare() returned {got}. See 'What is wrong with these numbers'."
    )
    assert same == agreed, (
        f"{story} The second value must be {agreed}; compare() returned {same}. Are all ratios on the same side of 1?"
    )


def test_a_machine_that_becomes_slower() -> None:
    check(
        [(3.0 * slow, 1.0 * slow) for slow in (1, 2, 4, 8, 16)],
        3.0,
        True,
        "From run to run the machine becomes slower, but in each run the first engine costs three times as much.",
    )


def test_one_disturbed_run_does_not_count() -> None:
    check(
        [(2.0, 1.0), (2.1, 1.0), (60.0, 1.0), (1.9, 1.0), (2.0, 1.0)],
        2.0,
        True,
        "In one run of five, something interrupted the first engine: 60 instead of 2. In all runs the first "
        "engine costs "
        "more.",
    )


def test_runs_that_do_not_agree() -> None:
    check(
        [(1.1, 1.0), (1.0, 1.2), (1.05, 1.0)],
        1.05,
        False,
        "In two runs the first engine costs more, in one run the second engine does.",
    )


def test_the_second_engine_costs_more() -> None:
    check(
        [(1.0, 4.0), (1.0, 4.0), (1.0, 4.0)],
        0.25,
        True,
        "In all runs the second engine costs four times as much.",
    )
