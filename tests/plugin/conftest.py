"""A fixture with the project whose tests the tests of the plugin run."""

from __future__ import annotations

import shutil

import pytest
from outside import HERE, Project

collect_ignore = ["project"]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project in project/."""
    root = tmp_path_factory.mktemp("project") / "crash"
    shutil.copytree(HERE / "project", root)
    return Project(root)
