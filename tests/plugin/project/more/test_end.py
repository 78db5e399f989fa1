"""The first failure (-x) ends the session, and only then is torn down what others would still have used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def crashes_at_the_end() -> Iterator[None]:
    yield
    Path("/proc/sysrq-trigger").write_text("c")


def test_fails(crashes_at_the_end: None) -> None:
    raise AssertionError


def test_is_never_run(crashes_at_the_end: None) -> None:
    pass
