"""The workflows that publish the site: both build it as a reader does, and publish the directory that this makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BUILT = "build/docs/html"


def read(path: str) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true; no test needs it.
    return yaml.safe_load((ROOT / path).read_text())


def test_makefile_builds_the_site_where_the_workflows_expect_it() -> None:
    assert f"-b html docs {BUILT}\n" in (ROOT / "Makefile").read_text()


def test_github_workflow_publishes_what_make_docs_builds() -> None:
    jobs = read(".github/workflows/pages.yml")["jobs"]
    steps = jobs["build"]["steps"]
    (docs,) = [step for step in steps if step.get("run") == "make docs"]
    assert docs["env"] == {"SITE_URL": "${{ steps.pages.outputs.base_url }}"}
    (upload,) = [step for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert upload["with"]["path"] == BUILT
    assert jobs["deploy"]["needs"] == "build"


def test_gitlab_job_publishes_what_make_docs_builds() -> None:
    job = read(".gitlab-ci.yml")["pages"]
    assert "make docs" in job["script"]
    assert f"mv {BUILT} public" in job["script"]
    assert job["artifacts"]["paths"] == ["public"]
    assert job["variables"] == {"SITE_URL": "$CI_PAGES_URL"}
    assert "SITE_URL" in (ROOT / "docs/conf.py").read_text()
