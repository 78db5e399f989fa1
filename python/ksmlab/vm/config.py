"""What a machine is made of, and the command that boots one."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError
from ksmlab.vm.place import check_name, check_place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ksmlab.vm.accel import Accel
    from ksmlab.vm.kernels import Kernel

DATA = Path(__file__).resolve().parents[3] / "vm"
SESSION_SCRIPT = DATA / "guest/session.sh"
EMULATION_FACTOR = 4
USUAL_MEMORY = "2G"
# As virtme-ng mounts it, but for the cache. Of two such arguments the kernel takes the last.
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
        writable: Directories of the host's that the guest may write to; no spaces in the paths.
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


def find_vng() -> str:
    """Give the path of virtme-ng's command: the one installed beside this Python, or else the one on PATH.

    Raises:
        VmError: There is none.
    """
    beside = Path(sys.executable).parent / "vng"
    found = str(beside) if beside.is_file() else shutil.which("vng")
    if found is None:
        raise VmError(
            "virtme-ng is not here.",
            untouched="No VM was started.",
            hint=f"Install it beside this Python:  {sys.executable} -m pip install virtme-ng",
        )
    return found


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


def vng_command(kernel: Kernel, config: MachineConfig, accel: Accel, vng: str) -> list[str]:
    """Put together the command that boots a machine.

    Raises:
        VmError: The guest would not find what it needs.
    """
    check_installed()
    for path in (config.cwd, SESSION_SCRIPT, kernel.root):
        check_place(path)
    for path in config.writable:
        check_name(path)
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
    qemu = ["-no-reboot", *accel.qemu_options, *config.qemu_options]
    memory = config.memory or kernel.spec.memory or USUAL_MEMORY
    argv = [vng, "--run", str(kernel.image), "--force-9p", "--disable-monitor", "--user", "root"]
    argv += ["--cpus", str(config.cpus), "--memory", memory, "--cwd", str(config.cwd)]
    argv += ["--shell", str(SESSION_SCRIPT), *accel.vng_options]
    for argument in boot:
        argv += ["--append", argument]
    for path in config.writable:
        argv += ["--rwdir", str(path)]
    return [*argv, f"--qemu-opts={shlex.join(qemu)}"]


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
