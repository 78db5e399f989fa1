"""Test the usual options of pytest with tests that run in VMs."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest
from harness import KERNEL
from outside import CHECKOUT

from ksmlab.vm import keep
from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outside import Project, Run

    from ksmlab.vm.keep import Kept

QUICK = "test_passes or test_parametrised or test_skipped or test_fails"
PROMPT = r"vm:\S*# "


def test_nothing_boots_for_a_collection(project: Project) -> None:
    run = project.run("--collect-only", "-qq")
    assert "booting" not in run.output
    assert f"tests/test_crash.py::test_parametrised[{KERNEL}-2]" in run.output


def test_a_matrix_is_one_test_a_kernel(project: Project) -> None:
    run = project.run("--collect-only", "-qq", kernels=("debian-6.1", "debian-6.12"))
    for kernel in ("debian-6.1", "debian-6.12"):
        assert f"tests/test_crash.py::test_parametrised[{kernel}-2]" in run.output


def test_an_unknown_kernel_is_a_usage_error(project: Project) -> None:
    run = project.run(kernels=("debian-5.0",))
    assert run.status == pytest.ExitCode.USAGE_ERROR
    assert "There is no kernel called debian-5.0" in run.output
    assert "Traceback" not in run.output


def test_x_stops_and_lf_goes_on_from_there(project: Project) -> None:
    first = project.run("-k", QUICK, "-x")
    assert "stopping after 1 failures" in first.output
    assert "1 failed, 1 passed" in first.output.splitlines()[-1]
    again = project.run("--lf")
    assert re.search(r"\b1 failed\b", again.output.splitlines()[-1])
    assert "test_passes" not in again.output
    assert f"test_fails[{KERNEL}]" in again.output


def test_m_chooses_and_a_lost_vm_stops_x_and_is_tried_again_by_lf(project: Project) -> None:
    first = project.run("-m", "lost", "-x")
    assert "stopping after 1 failures" in first.output
    assert re.search(r"= \d+ deselected, 1 lost in ", first.output.splitlines()[-1])
    assert f"::test_sysrq[{KERNEL}]" in first.output
    assert "::test_passes" not in first.output
    assert "::test_oops_in_a_module" not in first.output
    # pytest also remembers failures of earlier runs.
    again = project.run("--lf", "-m", "lost")
    assert re.search(r"= (?:\d+ deselected, )?1 lost in ", again.output.splitlines()[-1])
    assert f"LOST tests/test_crash.py::test_sysrq[{KERNEL}]" in again.output


def test_what_breaks_after_the_last_test_is_not_passed_over(project: Project) -> None:
    run = project.run("more/test_end.py", "-x")
    assert "1 failed, 1 lost" in run.output.splitlines()[-1]
    assert f"LOST more/test_end.py::test_fails[{KERNEL}] - LostVM: KernelPanic: " in run.output
    assert "after the last test" in run.output
    assert "sysrq_handle_crash" in run.output
    assert "test_is_never_run" not in run.output


def test_options_that_need_a_terminal_beside_the_test_change_nothing(project: Project) -> None:
    run = project.run("-k", "test_passes", "-s", "--setup-show", "--pdb", "--trace")
    assert run.status == 0, run.output
    assert re.search(r"= 1 passed, \d+ deselected", run.output.splitlines()[-1])
    assert "Pdb" not in run.output


def test_workers_have_a_vm_each(project: Project) -> None:
    run = project.run("-n2", "-k", QUICK)
    assert re.search(r"1 failed, 3 passed, 1 skipped.*1 error", run.output.splitlines()[-1])
    assert {"gw0", "gw1"} <= set(re.findall(r"^\[(gw\d)\]", run.output, re.MULTILINE))


@contextmanager
def kept_vm(project: Project, test: str) -> Iterator[tuple[Run, Kept]]:
    """Run a failing test with --vm-keep. Provide the result and the kept VM, which is ended afterwards."""
    run = project.run("--vm-keep", "-k", test)
    found = re.search(r"ksmlab vm attach (\S+)", run.output)
    assert found, run.output
    kept = keep.find(found[1])
    try:
        assert kept.gdb_command in run.output
        yield run, kept
    finally:
        kept.end()
    with pytest.raises(VmError):
        keep.find(found[1])


def test_a_vm_that_panicked_is_kept_for_the_debugger(project: Project) -> None:
    with kept_vm(project, "test_sysrq") as (run, kept):
        assert "1 lost" in run.output.splitlines()[-1]
        found = re.search(r"target remote (\S+)'", kept.gdb_command)
        assert found
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(60)
            line.connect(found[1])
            # Ask for the reason of the stop. The answer is an acknowledgement (+) and a signal.
            # Source: https://sourceware.org/gdb/current/onlinedocs/gdb.html/Packets.html
            line.sendall(b"$?#3f")
            answer = b""
            # QEMU may also report the stop without being asked.
            while not re.search(rb"\+\$[ST][0-9a-f]{2}[^#]*#[0-9a-f]{2}", answer):
                more = line.recv(4096)
                assert more, answer
                answer += more


def test_a_kept_vm_has_a_shell_and_a_debugger(project: Project) -> None:
    with kept_vm(project, "test_fails and not setup") as (_, kept):
        shell = pexpect.spawn(
            sys.executable, ["-m", "ksmlab", "vm", "attach", kept.name],
            cwd=str(CHECKOUT), encoding="utf-8", timeout=60,
        )  # fmt: skip
        shell.expect(PROMPT)
        shell.sendline("echo $((6 * 7)); uname -n")
        shell.expect(r"42\s+virtme-ng")
        shell.send("\x1d")
        shell.expect(pexpect.EOF)
        # The shell's server still runs, and accepts the next connection.
        again = subprocess.run(
            [sys.executable, "-m", "ksmlab", "vm", "attach", kept.name], cwd=CHECKOUT,
            input="exit\n", capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert again.returncode == 0, again.stderr
        assert Path(kept.directory, "gdb.sock").is_socket()
