"""Tests that end in all possible ways. tests/plugin/test_reports.py checks their reports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ksmlab.pytest_plugin.fixtures import VmModules

LOST = pytest.mark.lost


@pytest.fixture
def noisy() -> Iterator[int]:
    print("the fixture speaks")
    yield 1
    print("and speaks again")


def test_passes(noisy: int) -> None:
    assert noisy == 1


def test_runs_in_the_vm(vm_kernel: str, record_property: Callable[[str, object], None]) -> None:
    record_property("slow", os.environ["KSMLAB_SLOW"])
    record_property("release", os.uname().release)
    record_property("where", Path("/no/json"))
    assert os.uname().nodename == "virtme-ng"
    assert vm_kernel


def test_fails(noisy: int) -> None:
    print("said before it failed")
    number = noisy + 1
    assert number == 3, "not three"


@pytest.fixture
def broken() -> None:
    raise OSError("the fixture is broken")


def test_fails_in_the_setup(broken: None) -> None:
    raise AssertionError


@pytest.mark.skip(reason="not today")
def test_skipped() -> None:
    raise AssertionError


def test_skips_itself() -> None:
    pytest.skip("found out in the VM")


@pytest.mark.xfail(reason="known to fail", strict=True)
def test_expected_to_fail() -> None:
    raise ValueError("as known")


@pytest.mark.parametrize("number", [1, 2])
def test_parametrised(number: int) -> None:
    assert number < 3


def test_warning_of_the_kernel(vm_modules: VmModules) -> None:
    """The assertions hold, but the kernel reports an error."""
    vm_modules.load("crash", "how=warn")


def test_warning_before_a_skip(vm_modules: VmModules) -> None:
    vm_modules.load("crash", "how=warn")
    pytest.skip("it asks for no attention")


@pytest.mark.xfail(reason="known to fail", strict=True)
def test_warning_instead_of_the_failure_that_is_known(vm_modules: VmModules) -> None:
    vm_modules.load("crash", "how=warn")


def test_child_out_of_memory() -> None:
    """The kernel kills the child process, and the test ignores it."""
    hoard = "hoard = []\nwhile True: hoard.append(bytearray(b'x' * (16 << 20)))"
    subprocess.run(["choom", "-n", "1000", "--", sys.executable, "-c", hoard], check=False)


def test_leaks(vm_modules: VmModules) -> None:
    """Leak memory, which only a kernel with kmemleak reports."""
    vm_modules.load("crash", "how=leak")


def test_waived_warning() -> None:
    Path("/dev/kmsg").write_text("<4>WARNING: at the waived place in the code\n")


def test_report_with_a_newline_in_a_task_name() -> None:
    Path("/dev/kmsg").write_text("<3>INFO: task a\nb:12 blocked for more than 5 seconds.\n")


@pytest.mark.filterwarnings("default")
def test_warns() -> None:
    warnings.warn("the test warns", RuntimeWarning, stacklevel=1)


@LOST
def test_sysrq() -> None:
    print("before the crash")
    Path("/proc/sysrq-trigger").write_text("c")


def test_after_a_crash() -> None:
    assert Path("/proc/uptime").exists()


@LOST
def test_oops_in_a_module(vm_modules: VmModules) -> None:
    vm_modules.load("crash", "how=oops")


@LOST
@pytest.mark.vm_deadline(6)
def test_loop_with_interrupts_off(vm_modules: VmModules) -> None:
    vm_modules.load("crash", "how=loop")


@LOST
@pytest.mark.vm_deadline(6)
def test_waits_for_ever() -> None:
    time.sleep(10_000)


@LOST
def test_out_of_memory() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(b"x" * (16 << 20)))


@LOST
def test_breaks_its_pytest(record_property: Callable[[str, object], None]) -> None:
    record_property("key", {("no", "json"): 1})


@LOST
def test_ends_its_pytest() -> None:
    os._exit(3)


@LOST
def test_killed_from_outside() -> None:
    """A test on the host waits for the name of this test, and kills QEMU."""
    Path("/dev/kmsg").write_text("<4>now kill me\n")
    time.sleep(10_000)


def test_log_cannot_be_read() -> None:
    """Close the plugin's file descriptor of /dev/kmsg, so that the check after this test fails."""
    for entry in Path("/proc/self/fd").iterdir():
        if entry.is_symlink() and os.readlink(entry) == "/dev/kmsg":
            os.close(int(entry.name))
