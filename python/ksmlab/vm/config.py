"""What a machine is made of, and the command that boots one."""

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
# The options of virtme-ng, except for the cache mode. The kernel uses the last of two such arguments.
REMEMBERED_ROOT = "rootflags=version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose"


def slowness(accel: Accel, slow: float = 1) -> float:
    """Say how many times as long as on hardware things take in a machine: see Deadlines.under."""
    return slow * (1 if accel.kvm else EMULATION_FACTOR)


@dataclass(frozen=True)
class Deadlines:
    """How long things may take, in seconds.

    Attributes:
        boot: From the start of QEMU to the first command.
        command: One command.
        session: Everything, from the start of QEMU.
    """

    boot: float = 45
    command: float = 120
    session: float = 900

    def under(self, accel: Accel, slow: float = 1) -> Deadlines:
        """Give the deadlines for an accelerator and a kernel: longer where the CPU is emulated, or checks itself.

        Args:
            accel: How the machine is run.
            slow: How many times as long as on an ordinary kernel things take on this one.
        """
        factor = slowness(accel, slow)
        return Deadlines(*(factor * value for value in (self.boot, self.command, self.session)))


@dataclass(frozen=True)
class MachineConfig:
    """What a machine is made of.

    Attributes:
        cpus: Virtual CPUs.
        memory: Its size, as QEMU takes it; what the kernel's table says, or else 2G, if it is not given.
        boot_args: More arguments for the kernel's command line.
        writable: Directories of the host's that the guest may write to; path_checks.MOUNTABLE has the characters that
            their paths may contain.
        qemu_options: More options for QEMU.
        cwd: The directory that commands start in.
        remember: Whether the guest keeps what it has read of the host's files. Python starts several times as fast in
            a kernel that checks itself, but a file that is changed on the host later may look as it was.
        hold: Whether the VM stays up, halted, when its kernel panics.
        log_level: Kernel messages less urgent than this stay out of the log on the host (the kernel's loglevel=).
        deadlines: On a host with KVM; they are stretched under emulation.
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


#: An emulated CPU that the host does not run for a while has not locked up: twice so many seconds are a soft lockup.
#: Nor has it stalled RCU, which by default complains after 21 s: compaction on a debug kernel can take longer.
PATIENT_WATCHDOGS = ("watchdog_thresh=30", "rcupdate.rcu_cpu_stall_timeout=60")


#: virtme-ng's own commands. Its front end, vng, joins their arguments to one string and gives that to a shell;
#: virtme-run takes them one by one and executes QEMU directly.
VIRTME_RUN = "import sys; from virtme.commands.run import main; sys.exit(main())"
VIRTME_PACKAGE = "virtme"
#: What vng makes writable in the guest, with a layer in memory.
OVERLAYS = ("/etc", "/lib", "/home", "/opt", "/srv", "/usr", "/var", "/tmp")
COMMAND_LINE_BYTES = 2047
#: What virtme-ng 1.42 puts there beside paths: 560 bytes, and 60 for a writable directory.
OWN_OPTIONS_BYTES = 700
#: The initramfs that virtme-run makes takes 5 MiB.
INITRAMFS_BYTES = 16 << 20


def find_virtme() -> Path:
    """Give the directory of virtme-ng's package virtme, which the guest starts its init from.

    Raises:
        VmError: This Python does not have it.
    """
    found = importlib.util.find_spec(VIRTME_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise VmError(
            "virtme-ng is not installed.",
            untouched="No VM was started.",
            hint=f"Install it for this Python:  {shlex.quote(sys.executable)} -m pip install virtme-ng",
        )
    return Path(found.submodule_search_locations[0])


def check_installed() -> None:
    """See whether this package has what stands beside it in its checkout.

    Raises:
        VmError: It was installed without that.
    """
    if not SESSION_SCRIPT.is_file():
        raise VmError(
            f"{SESSION_SCRIPT} is not there: ksmlab boots VMs only out of its checkout.",
            untouched="No VM was started.",
            hint="Install the checkout itself:  pip install --editable CHECKOUT",
        )


def check_paths(kernel: Kernel, config: MachineConfig) -> None:
    """Check every directory that a machine uses.

    Raises:
        VmError: A path does not fit on the kernel's command line, the guest would not see a directory, or there is no
            room for temporary files.
    """
    check_installed()
    for what, path in (
        ("checkout", SESSION_SCRIPT),
        ("kernel cache", kernel.root),
        ("virtual environment", find_virtme()),
    ):
        check_characters(what, path)
        check_visible(what, path)
    # Commands get it from a script that quotes it, so it may have any name.
    check_visible("working directory", config.cwd)
    for path in config.writable:
        check_characters("writable directory", path, MOUNTABLE)
    check_writable(TEMPORARY, temporary_directory(), INITRAMFS_BYTES)


def check_command_line(kernel: Kernel, config: MachineConfig, boot: Sequence[str]) -> None:
    """Check that paths and options fit on the kernel's command line, which x86 would cut off in silence.

    Raises:
        VmError: They do not.
    """
    paths = [kernel.modules_dir, SESSION_SCRIPT, find_virtme(), *config.writable]
    length = OWN_OPTIONS_BYTES + len(os.fsencode(" ".join([*map(str, paths), *boot])))
    if length > COMMAND_LINE_BYTES:
        raise VmError(
            f"The kernel's command line would have {length} bytes, and it holds {COMMAND_LINE_BYTES}.",
            untouched="No VM was started.",
            hint="Use shorter paths or fewer boot arguments: " + ", ".join(map(str, paths)),
        )


def temporary_directory() -> Path:
    """Give the directory that Python, here and in virtme-run, makes temporary files in.

    Raises:
        VmError: None of the usual ones can be written to.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise VmError(
            "No directory for temporary files can be written to: each is full, read-only or missing.",
            untouched="No VM was started.",
            hint="Free some space in /tmp, or choose another directory:  export TMPDIR=DIRECTORY",
        ) from error


def virtme_command(kernel: Kernel, config: MachineConfig, accel: Accel) -> list[str]:
    """Put together the command that boots a machine; no shell is between it and QEMU.

    Raises:
        VmError: The guest would not find what it needs.
    """
    check_paths(kernel, config)
    # A kernel that oopses stops, and one that stops ends its QEMU: a crash is known within seconds.
    boot = [
        "oops=panic",
        # A held kernel stops where it is; a debugger finds every address where vmlinux has it.
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
    # -P: a file called virtme.py in the working directory is not what is meant.
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
    # It takes all that follows.
    return [*argv, "--qemu-opts", *qemu]


def guest_script(
    argv: Sequence[str], *, env: Mapping[str, str] | None, cwd: Path, size: tuple[int, int]
) -> str:
    """Write the bash script that runs one command in the guest."""
    columns, rows = size
    lines = [
        f"stty cols {columns} rows {rows} </dev/tty",
        f"cd {shlex.quote(str(cwd))} || exit 126",
    ]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in (env or {}).items()]
    return "\n".join([*lines, f"exec {shlex.join(argv)}"])
