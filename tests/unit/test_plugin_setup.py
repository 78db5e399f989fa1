"""The plugin's checks before the first VM: it reports a missing kernel or module once, and runs no test."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from outside import environment

from ksmlab.pytest_plugin.host import HOPELESS, Host
from ksmlab.pytest_plugin.setup import Setup
from ksmlab.vm.decode import VMLINUX
from ksmlab.vm.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ksmlab.pytest_plugin.leg import Leg
    from ksmlab.pytest_plugin.wire import Frame

RELEASE = "6.1.0-9-amd64"
KERNELS = '[small]\nseries = "6.1"\nflavour = "amd64"\npackages = ["linux-image-amd64"]\n'
CONFIGURATION = """
[pytest]
vm_tests = tests
vm_kernels = kernels.toml
vm_default_kernels = {kernel}
vm_modules = module
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a kernel in the cache that no module can be built for: its headers lack their Makefile."""
    cache = tmp_path / "cache"
    entry = cache / "kernels/small/6.1"
    (entry / "boot").mkdir(parents=True)
    (entry / "boot" / f"vmlinux-{RELEASE}").touch()
    (entry / "kernel.json").write_text(json.dumps({"release": RELEASE, "version": "6.1"}))
    monkeypatch.setenv("KSMLAB_CACHE", str(cache))
    root = tmp_path / "project"
    for name in ("tests", "module", "host"):
        (root / name).mkdir(parents=True)
    (root / "pytest.ini").write_text(CONFIGURATION.format(kernel="small"))
    (root / "kernels.toml").write_text(KERNELS)
    (root / "tests/test_it.py").write_text("def test_one(): pass\ndef test_two(): pass\n")
    (root / "host/test_host.py").write_text("def test_here(): pass\n")
    return root


def run_pytest(project: Path, *arguments: str) -> tuple[int, str]:
    argv = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", "-p", "no:anyio"]
    done = subprocess.run(
        [*argv, *arguments],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert "INTERNALERROR" not in output
    assert "Traceback" not in output
    return done.returncode, output


@pytest.mark.parametrize("arguments", [(), ("--kernel", "small")])
def test_a_module_that_does_not_build_ends_the_run_and_is_said_once(
    project: Path, arguments: tuple[str, ...]
) -> None:
    status, output = run_pytest(project, "tests", *arguments)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert output.count("is not a kernel's build directory") == 1


def test_to_a_worker_it_is_the_failure_of_each_test(project: Path) -> None:
    status, output = run_pytest(project, "tests", "-n", "1")
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "2 errors" in output
    assert output.count("Use the directory that `make -C` takes") == 1


WAYS = [(), ("--kernel", "small"), ("-n", "2")]


@pytest.mark.parametrize("arguments", WAYS)
def test_run_ends_at_once_if_kbuild_cannot_handle_the_path_of_the_project(
    project: Path, arguments: tuple[str, ...]
) -> None:
    odd = project.rename(project.with_name("x;touch pwned;y"))
    status, output = run_pytest(odd, "tests", *arguments)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert output.count("The path of the project contains the character ';'") == 1
    assert not list(odd.parent.rglob("*pwned"))
    assert run_pytest(odd, "host")[0] == pytest.ExitCode.OK


@pytest.mark.parametrize("arguments", WAYS)
def test_run_ends_at_once_if_the_build_directory_cannot_be_written_to(
    project: Path, arguments: tuple[str, ...]
) -> None:
    status, output = run_pytest(project, "tests", "-o", "vm_build=/proc/ksmlab", *arguments)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert output.count("The build directory, /proc/ksmlab, cannot be written to") == 1
    assert run_pytest(project, "host")[0] == pytest.ExitCode.OK


@pytest.mark.parametrize("kernel", ["smal", "no-such-file"])
def test_unknown_kernel_ends_only_a_run_with_vm_tests(project: Path, kernel: str) -> None:
    (project / "pytest.ini").write_text(CONFIGURATION.format(kernel=kernel))
    if kernel == "no-such-file":
        (project / "kernels.toml").unlink()
    status, output = run_pytest(project)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: " in output
    assert run_pytest(project, "host")[0] == pytest.ExitCode.OK


class Item:
    """As much of a test as a host asks for."""

    nodeid = "tests/test_it.py::test_one"
    location = ("tests/test_it.py", 0, "test_one")
    path = "tests/test_it.py"
    keywords: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.reports: list[pytest.TestReport] = []
        option = SimpleNamespace(vm_keep=False)
        self.config = SimpleNamespace(option=option)
        self.ihook = SimpleNamespace(
            pytest_runtest_logstart=lambda **_: None,
            pytest_runtest_logfinish=lambda **_: None,
            pytest_runtest_logreport=self.hear,
        )

    def hear(self, report: pytest.TestReport) -> None:
        self.reports.append(report)

    def get_closest_marker(self, _name: str) -> None:
        return None


def test_failed_build_is_not_retried_for_each_test() -> None:
    tries = []

    def make_leg(name: str) -> Leg:
        tries.append(name)
        raise BuildError("It does not build.", log="foo.c:1: error")

    host = Host(lambda _item: "small", make_leg)
    items = [Item() for _ in range(HOPELESS + 1)]
    for item in items:
        host.pytest_runtest_protocol(cast("pytest.Item", item), cast("pytest.Item", item))
    assert tries == ["small"]
    assert "foo.c:1: error" in str(items[0].reports[0].longrepr)
    for item in items:
        assert [each.outcome for each in item.reports] == ["failed", "passed"]
        assert "It does not build." in str(item.reports[0].longrepr)


class FakeLeg:
    """A VM in which a test is interrupted from the keyboard, or has nothing to say."""

    kernel = SimpleNamespace(name="small")

    def __init__(self, error: type[BaseException] | None) -> None:
        self.did: list[str] = []
        self._error = error

    def start(self, _files: list[str]) -> None:
        self.did.append("start")

    def run(self, *_: object) -> Iterator[Frame]:
        if self._error is not None:
            raise self._error
        yield from ()

    def finish(self) -> None:
        self.did.append("finish")

    def close(self) -> None:
        self.did.append("close")


@pytest.mark.parametrize(("error", "ends"), [(KeyboardInterrupt, ["close"]), (None, ["finish"])])
def test_an_interrupted_test_is_not_waited_for(
    error: type[BaseException] | None, ends: list[str]
) -> None:
    leg = FakeLeg(error)
    host = Host(lambda _item: "small", lambda _name: cast("Leg", leg))
    item = cast("pytest.Item", Item())
    session = SimpleNamespace(items=[item], config=SimpleNamespace())
    host.pytest_collection_finish(cast("pytest.Session", session))
    with pytest.raises(error) if error else contextlib.nullcontext():
        host.pytest_runtest_protocol(item, item)
    host.pytest_sessionfinish(cast("pytest.Session", session))
    assert leg.did == ["start", *ends]


def test_the_kernels_own_file_is_at_hand_for_its_frames_and_for_gdb(project: Path) -> None:
    settings: dict[str, object] = {
        "vm_kernels": "kernels.toml", "vm_modules": None, "vm_allow": None, "vm_tests": [],
    }  # fmt: skip
    option = SimpleNamespace(
        kernel=["small"], vm_boot=[], vm_memory=None, vm_cpus=2, vm_deadline=1.0, vm_record=None,
        vm_keep=False,
    )  # fmt: skip
    config = SimpleNamespace(
        rootpath=project, getini=settings.__getitem__, option=option,
        invocation_params=SimpleNamespace(args=(), dir=project),
    )  # fmt: skip
    leg = Setup(cast("pytest.Config", config)).leg("small")
    assert leg.plan.objects[VMLINUX] == leg.kernel.vmlinux
