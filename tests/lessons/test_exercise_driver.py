"""The driver step of each exercise fails with the reader's copy of the driver, and passes with the part written."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from ksmlab.lab import CHECKOUT
from ksmlab.lessons import driver_tests, exercise

if TYPE_CHECKING:
    from pathlib import Path

WITH_DRIVER = [number for number, each in exercise.read_all().items() if each.driver]


@pytest.mark.parametrize("number", WITH_DRIVER)
def test_driver_step_fails_until_the_part_is_written(number: int, tmp_path: Path) -> None:
    found = exercise.find(number)
    assert found.driver is not None
    copy = exercise.copy_driver(found, CHECKOUT, tmp_path)
    kernel = exercise.driver_kernel(found)
    run = driver_tests.run(found.driver, CHECKOUT, tmp_path, kernel)
    print(run.text)
    assert run.status == 1
    assert "not yet" in run.text
    for path in exercise.readers_files(copy):
        shutil.copy(CHECKOUT / "kernel" / path.name, path)
    run = driver_tests.run(found.driver, CHECKOUT, tmp_path, kernel)
    print(run.text)
    assert run.status == 0
