"""Test the VM harness on the host: each way in which a VM can end has its own error, and leaves no processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from harness import CHECKOUT, gone, group, until

from ksmlab.vm.config import Deadlines, MachineConfig
from ksmlab.vm.errors import (
    BootTimeout,
    CommandTimeout,
    KernelPanic,
    LostVM,
    SessionTimeout,
    VmError,
)
from ksmlab.vm.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ksmlab.vm.accel import Accel
    from ksmlab.vm.kernels import Kernel

SMALL = MachineConfig(memory="1G", cwd=CHECKOUT)


@pytest.fixture(scope="module")
def vm(kernel: Kernel, how: Accel) -> Iterator[Machine]:
    """A VM for all tests that do not end it."""
    with Machine(kernel, SMALL, accel=how) as machine:
        yield machine


def slow(machine: Machine) -> float:
    """Return the factor by which a VM is slower than one with KVM."""
    return machine.config.deadlines.command / Deadlines().command


def test_output_and_status_pass_through(vm: Machine, kernel: Kernel) -> None:
    assert vm.run(["uname", "-r"]).output == f"{kernel.release}\n"
    done = vm.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.status, done.output) == (7, "out\nerr\n")
    assert vm.run(["sh", "-c", "kill -9 $$"]).status == 128 + signal.SIGKILL


def test_much_output_is_whole(vm: Machine) -> None:
    done = vm.run(["seq", "20000"])
    assert done.output == "".join(f"{number}\n" for number in range(1, 20001))


def test_output_is_live(vm: Machine) -> None:
    pieces: list[tuple[float, str]] = []
    vm.run(
        ["sh", "-c", "echo first; sleep 2; echo second"],
        on_output=lambda piece: pieces.append((time.monotonic(), piece)),
    )
    first = next(when for when, piece in pieces if "f" in piece)
    assert pieces[-1][0] - first > 1


def test_the_guest_sees_the_checkout_and_cannot_write_to_it(vm: Machine) -> None:
    text = (CHECKOUT / "pyproject.toml").read_text()
    assert vm.run(["cat", "pyproject.toml"]).output == text
    # A write to a directory with an overlay in memory, such as /tmp, succeeds in the guest.
    vm.run(["sh", "-c", "echo x > made-in-the-guest; echo x >> pyproject.toml"])
    assert not (CHECKOUT / "made-in-the-guest").exists()
    assert (CHECKOUT / "pyproject.toml").read_text() == text
    assert vm.run(["sh", "-c", "echo x > /tmp/x && cat /tmp/x"]).output == "x\n"


def test_the_kernels_log_comes_by_itself(vm: Machine) -> None:
    vm.run(["sh", "-c", "echo '<4>hello from the guest' > /dev/kmsg"])
    assert until(lambda: any("hello from the guest" in line for line in vm.log), 10 * slow(vm))


def test_a_machine_boots_once(vm: Machine) -> None:
    with pytest.raises(VmError, match="already booted a VM"):
        vm.__enter__()


def test_a_command_that_hangs_meets_its_deadline(vm: Machine) -> None:
    pieces: list[str] = []
    start = time.monotonic()
    with pytest.raises(CommandTimeout, match="still running after 3 s"):
        vm.run(["sh", "-c", "echo begun; sleep 1000"], timeout=3, on_output=pieces.append)
    assert time.monotonic() - start < 3 + 7 * slow(vm)
    assert "".join(pieces) == "begun\n"
    assert gone(vm.pid)


def test_a_panic_is_a_panic_within_seconds(kernel: Kernel, how: Accel, tmp_path: Path) -> None:
    config = MachineConfig(memory="1G", cwd=CHECKOUT, writable=(tmp_path,))
    with Machine(kernel, config, accel=how) as machine:
        assert machine.run(["touch", str(tmp_path / "written")]).status == 0
        assert (tmp_path / "written").exists()
        start = time.monotonic()
        with pytest.raises(KernelPanic) as caught:
            machine.run(["sh", "-c", "echo c > /proc/sysrq-trigger"])
        assert time.monotonic() - start < 15 * slow(machine)
        assert "Kernel panic - not syncing: sysrq triggered crash" in caught.value.log
        assert "sysrq_handle_crash" in caught.value.log
        assert gone(machine.pid)


def test_qemu_killed_is_a_lost_vm(kernel: Kernel, how: Accel) -> None:
    with Machine(kernel, SMALL, accel=how) as machine:
        (qemu,) = [pid for pid, name in group(machine.pid).items() if name.startswith("qemu")]
        os.kill(qemu, signal.SIGKILL)
        with pytest.raises(LostVM):
            machine.run(["true"])
        assert gone(machine.pid)


@pytest.mark.parametrize(
    ("deadlines", "error"),
    [(Deadlines(boot=0.2), BootTimeout), (Deadlines(session=0.2), SessionTimeout)],
)
def test_what_takes_too_long(
    kernel: Kernel, how: Accel, deadlines: Deadlines, error: type[Exception]
) -> None:
    machine = Machine(kernel, MachineConfig(deadlines=deadlines, cwd=CHECKOUT), accel=how)
    with pytest.raises(error), machine:
        pass
    assert gone(machine.pid)


# A shell sets SIGINT to ignored for background processes, and Python would not change that.
BOOT_AND_WAIT = """
import signal
import sys
from pathlib import Path
from harness import CHECKOUT, KERNEL
from ksmlab.vm.config import MachineConfig
from ksmlab.vm.kernels import KernelStore, cache_root, load_specs
from ksmlab.vm.machine import Machine
kernel = KernelStore(load_specs(CHECKOUT / "vm/kernels.toml"), cache_root()).get(KERNEL)
config = MachineConfig(log_level=7)
machine = Machine(kernel, config, on_log=lambda line: print(machine.pid, flush=True))
signal.signal(signal.SIGINT, signal.default_int_handler)
with machine:
    machine.run(["sleep", "1000"])
"""


@pytest.mark.parametrize(
    ("number", "prefix"),
    [
        (signal.SIGINT, ()),
        (signal.SIGTERM, ()),
        (signal.SIGKILL, ()),
        # A parent that ignores SIGHUP passes that on to its child processes.
        (signal.SIGKILL, ("nohup",)),
    ],
)
def test_vm_ends_with_the_process_that_booted_it(
    number: signal.Signals, prefix: tuple[str, ...]
) -> None:
    env = {**os.environ, "PYTHONPATH": f"{CHECKOUT / 'python'}:{CHECKOUT / 'tests/host'}"}
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", BOOT_AND_WAIT],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        # Wait for the first line of the kernel's log, which is printed early in the boot.
        assert select.select([process.stdout], [], [], 120)[0]
        leader = int(process.stdout.readline())
        assert any(name.startswith("qemu") for name in group(leader).values())
        process.send_signal(number)
        assert gone(leader), group(leader)
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
