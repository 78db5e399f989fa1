"""ksmlab kernels: what is here, what it takes, and what is removed; on a cache with entries that were made by hand."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from ksmlab import kernels_cli
from ksmlab.lab import QUICK_KERNEL, Lab
from ksmlab.progress import Progress
from ksmlab.vm.errors import VmError
from ksmlab.vm.fetch import ENTRY
from ksmlab.vm.kernel_build import recipe

if TYPE_CHECKING:
    from pathlib import Path


NEW, OLD = "debian-6.12", "debian-6.1"


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    monkeypatch.setenv("KSMLAB_CACHE", str(tmp_path))
    return Lab(Progress())


def put(lab: Lab, name: str, version: str, made_by: str | None = None) -> Path:
    """Make an entry with one file of 2 MiB."""
    root = lab.store.cache / "kernels" / name / f"{version}-{made_by}"
    root.mkdir(parents=True)
    facts = {"release": f"{version}-{name}", "version": version}
    (root / ENTRY).write_text(json.dumps(facts | ({"recipe": made_by} if made_by else {})))
    (root / "vmlinux").write_bytes(os.urandom(2 << 20))
    return root


def listed(name: str) -> str:
    output = CliRunner().invoke(kernels_cli.app, ["list"]).output
    (line,) = [line for line in output.splitlines() if line.startswith(f"{name} ")]
    return line


def test_a_list_of_all_kernels(lab: Lab) -> None:
    put(lab, OLD, "6.1.5-1")
    put(lab, QUICK_KERNEL, "6.1.6-1", recipe(lab.store.spec(QUICK_KERNEL)))
    put(lab, "debug-6.1", "6.1.6-1", "0123456789ab")
    assert listed(OLD).split()[1:4] == ["fetched", "6.1.5-1-debian-6.1", "6.1.5-1"]
    assert listed(QUICK_KERNEL).split()[1:3] == ["built", "6.1.6-1-classic-6.1"]
    assert listed(QUICK_KERNEL).endswith(" 2 MiB")
    assert listed(NEW).split(maxsplit=1)[1] == "not fetched"
    assert "outdated: its options or the compiler changed (a build takes " in listed("debug-6.1")
    assert "not built (a build takes " in listed("debug-6.12")


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(1 << 20))
    once = kernels_cli.size_on_disk(tmp_path)
    os.link(tmp_path / "a", tmp_path / "b")
    assert kernels_cli.size_on_disk(tmp_path) == once >= 1 << 20


def test_rm(lab: Lab) -> None:
    current = put(lab, QUICK_KERNEL, "6.1.6-1", recipe(lab.store.spec(QUICK_KERNEL)))
    old = put(lab, QUICK_KERNEL, "6.1.6-1", "0123456789ab")
    runner = CliRunner()
    assert runner.invoke(kernels_cli.app, ["rm", "--old", QUICK_KERNEL]).output == (
        f"{QUICK_KERNEL}: 1 entry removed\n"
    )
    assert current.is_dir()
    assert not old.exists()
    runner.invoke(kernels_cli.app, ["rm", QUICK_KERNEL])
    assert not current.exists()


def test_rm_of_an_unknown_kernel_removes_nothing(lab: Lab) -> None:
    root = put(lab, OLD, "6.1.5-1")
    assert CliRunner().invoke(kernels_cli.app, ["rm", OLD, "none"]).exception
    assert root.is_dir()


@pytest.mark.parametrize("command", ["fetch", "build"])
def test_an_unknown_kernel_is_said_before_anything_is_done(lab: Lab, command: str) -> None:
    done = CliRunner().invoke(kernels_cli.app, [command, OLD, "none"])
    assert str(done.exception).startswith("There is no kernel called none.")
    assert not done.output
    assert not list(lab.store.cache.iterdir())


def test_another_projects_kernels(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[mine]\nseries = "6.1"\nflavour = "amd64"\npackages = ["p"]\n')
    put(lab, "mine", "6.1.9-1")
    runner = CliRunner()
    done = runner.invoke(kernels_cli.app, ["list", "--kernels", str(file)])
    assert [line.split()[:3] for line in done.output.splitlines()] == [
        ["mine", "fetched", "6.1.9-1-mine"]
    ]
    done = runner.invoke(kernels_cli.app, ["rm", "mine", "--kernels", str(file)])
    assert done.output == "mine: 1 entry removed\n"


@pytest.mark.parametrize("content", [None, "[mine"])
def test_a_file_that_describes_no_kernels(lab: Lab, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "own.toml"
    if content is not None:
        file.write_text(content)
    done = CliRunner().invoke(kernels_cli.app, ["list", "--kernels", str(file)])
    assert isinstance(done.exception, VmError)
    assert f"cannot be read from {file}: " in str(done.exception)


def test_default_is_the_quick_kernel_once_it_is_built(lab: Lab) -> None:
    put(lab, NEW, "6.12.5-1")
    assert lab.default_kernel() == lab.stock_kernel() == NEW
    put(lab, QUICK_KERNEL, "6.1.6-1", "0123456789ab")
    assert lab.default_kernel() == NEW, "it is of other fragments"
    put(lab, QUICK_KERNEL, "6.1.6-1", recipe(lab.store.spec(QUICK_KERNEL)))
    assert lab.default_kernel() == QUICK_KERNEL
    assert lab.stock_kernel() == NEW


def test_tested_prints_cached_kernels_as_options_for_pytest(lab: Lab) -> None:
    put(lab, NEW, "6.12.5-1")
    put(lab, OLD, "6.1.5-1")
    runner = CliRunner()
    assert runner.invoke(kernels_cli.app, ["tested"]).output == f"{OLD}\n{NEW}\n"
    done = runner.invoke(kernels_cli.app, ["tested", "--options"])
    assert done.output == f"--kernel {OLD} --kernel {NEW}\n"


def test_lesson_falls_back_to_the_stock_kernel(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(lab, NEW, "6.12.5-1")
    monkeypatch.setattr(lab.store, "offers", lambda _name, _report: False)
    assert lab.kernel_like(OLD) == NEW
    assert f"{OLD} is not available, so {NEW} is used" in capsys.readouterr().err
    put(lab, OLD, "6.1.5-1")
    assert lab.kernel_like(OLD) == OLD
