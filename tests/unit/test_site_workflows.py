"""The workflows that publish the site: each builds it as a reader does, and publishes the directory that this makes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BUILT = "build/docs/html"


def read(path: str) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true; no test needs it.
    jobs: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return jobs


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


def forgejo_steps() -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = read(".forgejo/workflows/pages.yml")["jobs"]["publish"]["steps"]
    return steps


def test_forgejo_workflow_builds_the_site_with_its_address() -> None:
    steps = forgejo_steps()
    (docs,) = [step for step in steps if step.get("run") == "make docs"]
    assert docs["env"] == {"SITE_URL": "${{ vars.SITE_URL }}"}
    assert steps.index(docs) == len(steps) - 2
    # The action that checks out the source is a program for Node.js.
    assert "nodejs" in steps[0]["run"].split()
    assert "checkout" in steps[1]["uses"]


def test_all_workflows_install_the_same_packages_for_the_build() -> None:
    gitlab = read(".gitlab-ci.yml")["pages"]["script"][0]
    github = read(".github/workflows/pages.yml")["jobs"]["build"]["steps"][0]["run"]
    assert gitlab == github == forgejo_steps()[0]["run"].replace(" nodejs", "")


def test_forgejo_workflow_publishes_only_the_built_site_each_time(tmp_path: Path) -> None:
    publish = forgejo_steps()[-1]["run"]
    origin, checkout = tmp_path / "origin", tmp_path / "checkout"
    names = ("AUTHOR", "COMMITTER")
    person = {f"GIT_{name}_{key}": "a" for name in names for key in ("NAME", "EMAIL")}

    def run(*argv: str, **env: str) -> str:
        variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GITHUB_SHA": "abc", **env}
        return subprocess.run(
            argv, cwd=checkout, env=variables, check=True, capture_output=True, text=True
        ).stdout

    checkout.mkdir()
    run("git", "init", "-q", "--bare", str(origin))
    run("git", "init", "-q")
    run("git", "remote", "add", "origin", str(origin))
    (checkout / ".gitignore").write_text("/build/\n")
    (checkout / "README.md").write_text("source\n")
    run("git", "add", "--all")
    run("git", "commit", "-qm", "source", **person)
    built = checkout / BUILT
    built.mkdir(parents=True)
    for name in ("first.html", "second.html"):
        for old in built.iterdir():
            old.unlink()
        (built / name).write_text("page")
        run("sh", "-e", "-c", publish)
        assert run("git", "-C", str(origin), "ls-tree", "--name-only", "pages") == f"{name}\n"
        assert run("git", "-C", str(origin), "rev-list", "--count", "pages") == "1\n"
