"""Ratios of what was measured on machines that are not at rest."""

import pytest
from ratios import compare


def test_a_machine_that_grows_slower() -> None:
    ratio, agreed = compare([(3.0 * slow, 1.0 * slow) for slow in (1, 2, 4, 8, 16)])
    assert ratio == pytest.approx(3)
    assert agreed


def test_one_disturbed_run_does_not_count() -> None:
    ratio, agreed = compare([(2.0, 1.0), (2.1, 1.0), (60.0, 1.0), (1.9, 1.0), (2.0, 1.0)])
    assert ratio == pytest.approx(2.0)
    assert agreed


def test_runs_that_do_not_agree() -> None:
    ratio, agreed = compare([(1.1, 1.0), (1.0, 1.2), (1.05, 1.0)])
    assert ratio == pytest.approx(1.05)
    assert not agreed


def test_the_other_way_round() -> None:
    assert compare([(1.0, 4.0), (1.0, 4.0), (1.0, 4.0)]) == (0.25, True)
