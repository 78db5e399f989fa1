"""The command that boots a machine, and the choice of accelerator."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ksmlab.lab import Lab
from ksmlab.progress import Progress
from ksmlab.vm import accel, kvm_loop
from ksmlab.vm import config as config_module
from ksmlab.vm.accel import Accel, judge, probe
from ksmlab.vm.config import Deadlines, MachineConfig, virtme_command
from ksmlab.vm.errors import KernelPanic, VmError
from ksmlab.vm.kernels import Kernel, KernelSpec

KERNEL = Kernel(
    KernelSpec("k", "6.1", "amd64", (), boot=("own=1",)), "6.1.0-9-amd64", "1", Path("/k")
)
KVM = Accel(kvm=True, why="")
TCG = Accel(kvm=False, why="")


def test_a_crash_ends_the_vm() -> None:
    argv = virtme_command(KERNEL, MachineConfig(), KVM)
    assert {"--kopt=oops=panic", "--kopt=panic=-1", "--kopt=own=1"} <= set(argv)
    assert argv[-2:] == ["--qemu-opts", "-no-reboot"]
    assert "--force-9p" in argv
    assert "--disable-kvm" not in argv


def test_emulation_has_one_thread() -> None:
    argv = virtme_command(KERNEL, MachineConfig(), TCG)
    assert "--disable-kvm" in argv
    accel = ["-accel", "tcg,thread=single,tb-size=64", "-cpu", "max,-erms,-fsrm"]
    assert argv[-6:] == ["--qemu-opts", "-no-reboot", *accel]


def test_what_a_machine_is_made_of() -> None:
    config = MachineConfig(
        cpus=3, memory="512M", boot_args=("more=1",), writable=(Path("/w"),), cwd=Path("/c"),
        qemu_options=("-icount", "shift=3"),
    )  # fmt: skip
    argv = virtme_command(KERNEL, config, KVM)
    assert {"--cpus=3", "--memory=512M", "--kopt=more=1", "--rwdir=/w"} <= set(argv)
    assert argv[-2:] == ["-icount", "shift=3"]


def test_deadlines_stretch_under_emulation() -> None:
    deadlines = Deadlines(boot=1, command=2, session=3)
    assert deadlines.under(KVM) == deadlines
    assert deadlines.under(TCG) == Deadlines(boot=4, command=8, session=12)
    assert deadlines.under(KVM, slow=3) == Deadlines(boot=3, command=6, session=9)
    assert deadlines.under(TCG, slow=3) == Deadlines(boot=12, command=24, session=36)


@pytest.mark.parametrize(
    ("own", "asked", "given"), [(None, None, "2G"), ("3G", None, "3G"), ("3G", "1G", "1G")]
)
def test_memory_is_what_is_asked_for_or_what_the_kernel_needs(
    own: str | None, asked: str | None, given: str
) -> None:
    kernel = replace(KERNEL, spec=replace(KERNEL.spec, memory=own))
    argv = virtme_command(kernel, MachineConfig(memory=asked), KVM)
    assert f"--memory={given}" in argv


def test_machine_rejects_a_working_directory_that_the_guest_hides() -> None:
    with pytest.raises(VmError, match="its own /var/tmp") as caught:
        virtme_command(KERNEL, MachineConfig(cwd=Path("/var/tmp/ksm")), KVM)
    assert "no VM was started" in caught.value.untouched


def test_machine_rejects_a_cache_that_the_guest_hides(tmp_path: Path) -> None:
    (tmp_path / "cache").symlink_to("/var/cache")
    kernel = replace(KERNEL, root=tmp_path / "cache/k")
    with pytest.raises(VmError, match="its own /var/cache"):
        virtme_command(kernel, MachineConfig(cwd=tmp_path), KVM)
    # What is writable is mounted, also where the guest hides the host's files.
    virtme_command(KERNEL, MachineConfig(cwd=tmp_path, writable=(Path("/var/tmp/w"),)), KVM)


def test_without_a_checkout_it_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "SESSION_SCRIPT", Path("/usr/lib/vm/guest/session.sh"))
    with pytest.raises(VmError, match="only be used from its checkout") as caught:
        virtme_command(KERNEL, MachineConfig(), KVM)
    assert "pip install --editable" in caught.value.hint
    with pytest.raises(VmError, match="only be used from its checkout"):
        Lab(Progress())


def test_judging_the_probe() -> None:
    assert judge(0, "0.0012\n").kvm
    assert not judge(0, "0.3\n").kvm
    assert not judge(None, "").kvm
    assert "emulated" in judge(-signal.SIGPROF, "").why
    denied = judge(1, "[Errno 13] Permission denied: '/dev/kvm'\n")
    assert not denied.kvm
    assert "Permission denied" in denied.why
    for verdict in (judge(0, "0.001"), judge(0, "0.3"), judge(None, ""), denied):
        assert "\n" not in verdict.why


@pytest.mark.parametrize(("value", "kvm"), [("kvm", True), ("tcg", False)])
def test_a_person_may_decide(monkeypatch: pytest.MonkeyPatch, value: str, kvm: bool) -> None:
    monkeypatch.setenv(accel.OVERRIDE, value)
    assert probe().kvm is kvm


def test_the_probe_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(accel.OVERRIDE, raising=False)
    start = time.monotonic()
    verdict = probe()
    assert time.monotonic() - start < accel.PROBE_SECONDS / 2
    assert verdict.why


def test_a_host_that_is_busy_is_not_taken_for_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest's loop is done at once; this process is not run for a while in the middle of it."""

    def run(_descriptor: object, request: int, *_: object) -> object:
        if request == kvm_loop.KVM_RUN:
            time.sleep(3 * accel.FAST_SECONDS)
            struct.pack_into("<I", memory[-1], 8, kvm_loop.KVM_EXIT_HLT)
        return 4096 if request == kvm_loop.KVM_GET_VCPU_MMAP_SIZE else 0

    memory: list[bytearray] = []

    def take(_descriptor: int, size: int) -> bytearray:
        memory.append(bytearray(size))
        return memory[-1]

    monkeypatch.setattr(os, "open", lambda *_: 99)
    monkeypatch.setattr(kvm_loop, "fcntl", SimpleNamespace(ioctl=run))
    monkeypatch.setattr(kvm_loop, "mmap", SimpleNamespace(mmap=take))
    seconds = kvm_loop.loop_seconds(10.0)
    assert judge(0, f"{seconds:.6f}\n").kvm


def test_a_probe_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(accel.OVERRIDE, raising=False)

    def hang(*_args: object, **_kwargs: object) -> None:
        raise subprocess.TimeoutExpired("probe", accel.PROBE_SECONDS)

    monkeypatch.setattr(subprocess, "run", hang)
    monkeypatch.setattr(Path, "exists", lambda _self: True)
    assert not probe().kvm


def test_an_error_says_all_of_it() -> None:
    error = KernelPanic(
        "It panicked.", untouched="Nothing changed.", hint="Look above.", log="log\n"
    )
    assert isinstance(error, VmError)
    assert str(error) == "log\nIt panicked.\nNothing changed.\nLook above."


@pytest.mark.parametrize("remember", [False, True])
def test_what_the_guest_remembers(remember: bool) -> None:
    argv = virtme_command(KERNEL, MachineConfig(remember=remember), KVM)
    assert any("cache=loose" in word for word in argv) == remember
