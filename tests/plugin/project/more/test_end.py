"""The first failure (-x) ends the session, and only then is torn down what others would still have used."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def crashes_at_the_end():
    yield
    Path("/proc/sysrq-trigger").write_text("c")


def test_fails(crashes_at_the_end):
    raise AssertionError


def test_is_never_run(crashes_at_the_end):
    pass
