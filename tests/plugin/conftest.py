"""The project whose tests the plugin's tests run."""

from __future__ import annotations

import shutil

import pytest
from outside import HERE, Project

collect_ignore = ["project"]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project in project/, as a copy."""
    root = tmp_path_factory.mktemp("project") / "crash"
    shutil.copytree(HERE / "project", root)
    return Project(root)
