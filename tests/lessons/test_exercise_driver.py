"""The driver of an exercise fails its tests in a VM as the reader gets it; as it is in the tree, it passes them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from ksmlab.lab import CHECKOUT
from ksmlab.lessons import exercise

if TYPE_CHECKING:
    from pathlib import Path

WITH_DRIVER = [number for number, each in exercise.read_all().items() if each.driver]


@pytest.mark.parametrize("number", WITH_DRIVER)
def test_it_fails_until_it_is_filled_in(number: int, tmp_path: Path) -> None:
    found = exercise.find(number)
    copy = exercise.copy_driver(found, CHECKOUT, tmp_path)
    assert exercise.run_driver_tests(found, CHECKOUT, tmp_path) == 1
    for path in (CHECKOUT / "kernel").glob("*.[ch]"):
        shutil.copy(path, copy / path.name)
    assert exercise.run_driver_tests(found, CHECKOUT, tmp_path) == 0
