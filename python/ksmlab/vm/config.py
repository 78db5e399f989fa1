"""Configure a VM, and build the command that boots it."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError
from ksmlab.vm.path_checks import (
    MOUNTABLE,
    TEMPORARY,
    check_characters,
    check_visible,
    check_writable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ksmlab.vm.accel import Accel
    from ksmlab.vm.kernels import Kernel

DATA = Path(__file__).resolve().parents[3] / "vm"
SESSION_SCRIPT = DATA / "guest/session.sh"
EMULATION_FACTOR = 4
USUAL_MEMORY = "2G"
# The mount options that virtme-ng uses, with another cache mode. The kernel uses the last of several rootflags.
REMEMBERED_ROOT = "rootflags=version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose"


def slowness(accel: Accel, slow: float = 1) -> float:
    """Return the factor by which a VM is slower than one with KVM and an ordinary kernel.

    Args:
        accel: The way to run the VM's CPUs.
        slow: The factor by which its kernel is slower than an ordinary one (`slow` in kernels.toml).
    """
    return slow * (1 if accel.kvm else EMULATION_FACTOR)


@dataclass(frozen=True)
class Deadlines:
    """Time limits of a VM, in seconds.

    Attributes:
        boot: From the start of QEMU until the guest accepts commands.
        command: For one command.
        session: For the whole session, from the start of QEMU.
    """

    boot: float = 45
    command: float = 120
    session: float = 900

    def under(self, accel: Accel, slow: float = 1) -> Deadlines:
        """Return the deadlines multiplied by the slowness of a VM; see `slowness` for the arguments."""
        factor = slowness(accel, slow)
        return Deadlines(*(factor * value for value in (self.boot, self.command, self.session)))


@dataclass(frozen=True)
class MachineConfig:
    """The configuration of a VM.

    Attributes:
        cpus: The number of virtual CPUs.
        memory: The size of its memory in QEMU's notation. The default is the value in the kernel's table, or 2G.
        boot_args: More arguments for the kernel's command line.
        writable: Directories of the host that the guest may write to. Their paths may only contain the characters in
            path_checks.MOUNTABLE.
        qemu_options: More options for QEMU.
        cwd: The directory in which commands start.
        remember: Whether the guest caches the host's files. Python then starts several times faster on a debug kernel,
            but the guest may not see later changes of a file.
        hold: Whether the VM is halted instead of ended when its kernel panics.
        log_level: The host's copy of the kernel log has only messages with a lower level (the kernel's loglevel=).
        deadlines: The time limits with KVM and an ordinary kernel; `Machine` multiplies them by the VM's slowness.
    """

    cpus: int = 2
    memory: str | None = None
    boot_args: tuple[str, ...] = ()
    writable: tuple[Path, ...] = ()
    qemu_options: tuple[str, ...] = ()
    cwd: Path = field(default_factory=Path.cwd)
    remember: bool = False
    hold: bool = False
    log_level: int = 5
    deadlines: Deadlines = field(default_factory=Deadlines)


#: Longer timeouts for emulated CPUs, since the host may not run such a CPU for a while. The kernel reports a soft
#: lockup after twice watchdog_thresh. By default, it reports an RCU stall after 21 s, but compaction on a debug kernel
#: may take longer.
PATIENT_WATCHDOGS = ("watchdog_thresh=30", "rcupdate.rcu_cpu_stall_timeout=60")


#: Run virtme-run rather than its front end vng: vng joins the arguments to a string for a shell, while virtme-run takes
#: a list and executes QEMU directly.
VIRTME_RUN = "import sys; from virtme.commands.run import main; sys.exit(main())"
VIRTME_PACKAGE = "virtme"
#: The directories that vng makes writable in the guest, with an overlay in memory.
OVERLAYS = ("/etc", "/lib", "/home", "/opt", "/srv", "/usr", "/var", "/tmp")
COMMAND_LINE_BYTES = 2047
#: The space for the options that virtme-ng 1.42 adds, without paths: 560 bytes, and 60 for a writable directory.
OWN_OPTIONS_BYTES = 700
#: The space for the initramfs that virtme-run creates, which has 5 MiB.
INITRAMFS_BYTES = 16 << 20


def find_virtme() -> Path:
    """Return the directory of the Python package virtme of virtme-ng, which contains the guest's init.

    Raises:
        VmError: The package is not installed for this Python.
    """
    found = importlib.util.find_spec(VIRTME_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise VmError(
            "No VM can be booted, because virtme-ng is not installed for this Python.",
            untouched="No VM was started.",
            hint=f"Install it:  {shlex.quote(sys.executable)} -m pip install virtme-ng",
        )
    return Path(found.submodule_search_locations[0])


def check_installed() -> None:
    """Check that this package is used from a checkout, which has the files that the guest needs.

    Raises:
        VmError: The package was installed without them.
    """
    if not SESSION_SCRIPT.is_file():
        raise VmError(
            f"{SESSION_SCRIPT} does not exist. ksmlab can only be used from its checkout.",
            untouched="No VM was started.",
            hint="Install the package from the checkout:  pip install --editable CHECKOUT",
        )


def check_paths(kernel: Kernel, config: MachineConfig) -> None:
    """Check the directories that a VM uses.

    Raises:
        VmError: A path has a character that virtme-ng cannot handle, the guest would not see a directory, or there is
            no space for temporary files.
    """
    check_installed()
    for what, path in (
        ("checkout", SESSION_SCRIPT),
        ("kernel cache", kernel.root),
        ("virtual environment", find_virtme()),
    ):
        check_characters(what, path)
        check_visible(what, path)
    # The path of the working directory may have any characters, since it is passed in a script that quotes it.
    check_visible("working directory", config.cwd)
    for path in config.writable:
        check_characters("writable directory", path, MOUNTABLE)
    check_writable(TEMPORARY, temporary_directory(), INITRAMFS_BYTES)


def check_command_line(kernel: Kernel, config: MachineConfig, boot: Sequence[str]) -> None:
    """Check the length of the kernel's command line, since x86 silently truncates one that is too long.

    Raises:
        VmError: The paths and options do not fit.
    """
    paths = [kernel.modules_dir, SESSION_SCRIPT, find_virtme(), *config.writable]
    length = OWN_OPTIONS_BYTES + len(os.fsencode(" ".join([*map(str, paths), *boot])))
    if length > COMMAND_LINE_BYTES:
        raise VmError(
            f"The kernel's command line would have {length} bytes, but may have only {COMMAND_LINE_BYTES}.",
            untouched="No VM was started.",
            hint="Use fewer boot arguments, or shorter paths. The paths are: "
            + ", ".join(map(str, paths)),
        )


def temporary_directory() -> Path:
    """Return the directory for temporary files, which virtme-run uses as well.

    Raises:
        VmError: None of the usual directories can be written to.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise VmError(
            "Temporary files cannot be written: each directory for them is full, read-only or missing.",
            untouched="No VM was started.",
            hint="Free some space in /tmp, or choose another directory:  export TMPDIR=DIRECTORY",
        ) from error


def virtme_command(kernel: Kernel, config: MachineConfig, accel: Accel) -> list[str]:
    """Return the command that boots a VM. The command does not start a shell in between.

    Raises:
        VmError: A path or the length of the kernel's command line is not valid.
    """
    check_paths(kernel, config)
    # An oops becomes a panic, and a panic ends QEMU, so that the host notices a crash within seconds.
    boot = [
        "oops=panic",
        # A held VM halts instead, without a randomised address, so that a debugger can use the addresses in vmlinux.
        *(("panic=0", "nokaslr") if config.hold else ("panic=-1",)),
        f"loglevel={config.log_level}",
        *(() if accel.kvm else PATIENT_WATCHDOGS),
        *((REMEMBERED_ROOT,) if config.remember else ()),
        *kernel.spec.boot,
        *config.boot_args,
    ]
    check_command_line(kernel, config, boot)
    qemu = ["-no-reboot", *accel.qemu_options, *config.qemu_options]
    memory = config.memory or kernel.spec.memory or USUAL_MEMORY
    # -P keeps Python from importing a file virtme.py of the working directory.
    argv = [
        sys.executable,
        "-P",
        "-c",
        VIRTME_RUN,
        "--name",
        "virtme-ng",
        "--mods",
        "auto",
        "--user",
        "root",
    ]
    argv += [f"--kimg={kernel.image}", "--force-9p", "--disable-monitor", *accel.virtme_options]
    argv += [f"--cpus={config.cpus}", f"--memory={memory}", f"--shell={SESSION_SCRIPT}"]
    argv += [f"--overlay-rwdir={path}" for path in OVERLAYS]
    argv += [f"--kopt={argument}" for argument in boot]
    argv += [f"--rwdir={path}" for path in config.writable]
    # --qemu-opts takes all remaining arguments, so it must be last.
    return [*argv, "--qemu-opts", *qemu]


def guest_script(
    argv: Sequence[str], *, env: Mapping[str, str] | None, cwd: Path, size: tuple[int, int]
) -> str:
    """Return the bash script that runs a command in the guest.

    Args:
        argv: The command and its arguments.
        env: Variables to add to its environment.
        cwd: Its working directory.
        size: The columns and rows of its terminal.
    """
    columns, rows = size
    lines = [
        f"stty cols {columns} rows {rows} </dev/tty",
        f"cd {shlex.quote(str(cwd))} || exit 126",
    ]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in (env or {}).items()]
    return "\n".join([*lines, f"exec {shlex.join(argv)}"])
