"""Keep VMs running after their tests, so that the user can examine them; list the kept VMs, and end them.

A VM ends when no process holds its console. So this module starts a separate process that takes the console over and
reads its output:

    python -m ksmlab.vm.keep CONSOLE LOG DIRECTORY
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ksmlab.vm.errors import VmError
from ksmlab.vm.ports import GDB, PREFIX, SOCKETS

if TYPE_CHECKING:
    from ksmlab.vm.machine import Machine
    from ksmlab.vm.ports import Ports

FACTS = "kept.json"
LOG = "kernel.log"
READ_BYTES = 1 << 16
END_SECONDS = 10.0
LOOK_SECONDS = 0.1
#: Processes that outlive this one. Python warns when a Popen is freed while its process runs, so keep references.
GOES_ON: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Kept:
    """A kept VM.

    Attributes:
        name: The name of the VM.
        kernel: The name of its kernel.
        pid: The leader of its process group.
        started: The start time of that process (see `start_time`), since its PID may be reused.
        directory: The directory of its sockets.
        why: The reason why it was kept.
        objects: Files with debug information, by module name.
        sections: The addresses of each module's sections, by module and section name.
    """

    name: str
    kernel: str
    pid: int
    started: int
    directory: str
    why: str
    objects: dict[str, str] = field(default_factory=dict)
    sections: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def gdb_command(self) -> str:
        """The shell command that debugs its kernel, to be run on the host."""
        parts = ["gdb"]
        if vmlinux := self.objects.get("vmlinux"):
            parts.append(vmlinux)
        parts += ["-ex", f"target remote {Path(self.directory, f'{GDB}.sock')}"]
        for module, sections in sorted(self.sections.items()):
            text = sections.get(".text")
            if text and module in self.objects:
                more = "".join(
                    f" -s {name} {address}"
                    for name, address in sorted(sections.items())
                    if name in {".data", ".bss", ".rodata"}
                )
                parts += ["-ex", f"add-symbol-file {self.objects[module]} {text}{more}"]
        return shlex.join(parts)

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return start_time(self.pid) == self.started

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read the description that `save` wrote; return None if the file is damaged or belongs to another user."""
        try:
            if {path.lstat().st_uid, path.parent.lstat().st_uid} != {os.geteuid()}:
                return None
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self) -> None:
        """Write the description of this VM to its directory, where `kept` finds it."""
        Path(self.directory, FACTS).write_text(json.dumps(asdict(self), indent=1) + "\n")

    def end(self) -> None:
        """End the VM, and wait until it has ended.

        Raises:
            VmError: The VM did not end.
        """
        if not self.alive:
            shutil.rmtree(self.directory, ignore_errors=True)
            return
        # The kernel does not reuse the number of a process group while one of its processes exists.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
            deadline = time.monotonic() + END_SECONDS
            while time.monotonic() < deadline:
                if not Path(self.directory).exists():
                    return
                time.sleep(LOOK_SECONDS)
        raise VmError(
            f"The VM {self.name} (process group {self.pid}) did not end, even after SIGKILL.",
            untouched=f"Its files are still in {self.directory}.",
            hint=f"List its remaining processes with:  ps -o pid,stat,cmd -g {self.pid}",
        )


def start_time(pid: int) -> int | None:
    """Return the start time of a process, in clock ticks since the host's boot (field 22 of /proc/PID/stat).

    Return None if there is no process with this PID, or if it is a zombie.
    """
    try:
        # The second field is the process's name in parentheses, which may contain spaces and parentheses.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(fields[18])


def kept(directory: Path | None = None) -> list[Kept]:
    """List this user's kept VMs, the newest last.

    Also remove the directory of a VM that has ended without its keeper, for example by a reboot.

    Args:
        directory: The directory of the VMs' sockets, if not the usual one.
    """
    there = []
    for path in (directory or SOCKETS).glob(f"{PREFIX}*/{FACTS}"):
        made = Kept.load(path)
        if made is None:
            continue
        # The VM may end, and its directory be removed, in the meantime.
        with contextlib.suppress(FileNotFoundError):
            if made.alive:
                there.append((path.stat().st_mtime, made))
            else:
                shutil.rmtree(path.parent, ignore_errors=True)
    return [made for _, made in sorted(there, key=lambda pair: pair[0])]


def find(name: str | None) -> Kept:
    """Return the kept VM of that name, or the newest one if the name is None.

    Raises:
        VmError: There is no such VM.
    """
    every = kept()
    for each in reversed(every):
        if name in (None, each.name):
            return each
    there = f"Use one of these: {', '.join(each.name for each in every)}." if every else ""
    raise VmError(
        f"There is no kept VM called {name}." if name else "There is no kept VM.",
        untouched="No VM was changed.",
        hint=there or "To keep the VM of a failed test, run `pytest --vm-keep`.",
    )


def keep(
    machine: Machine, ports: Ports, why: str,
    objects: dict[str, str], sections: dict[str, dict[str, str]],
) -> Kept:  # fmt: skip
    """Pass a VM to a separate process, which keeps it running when this process ends.

    Args:
        machine: The VM. This process cannot use it afterwards.
        ports: Its sockets. They must not be closed.
        why: The reason, for the user.
        objects: Files with debug information, by module name.
        sections: The addresses of the modules' sections, by module and section name.
    """
    name = ports.directory.name.removeprefix(PREFIX)
    made = Kept(
        name=name, kernel=machine.kernel.name, pid=machine.pid, started=start_time(machine.pid) or 0,
        directory=str(ports.directory), why=why, objects=objects, sections=sections,
    )  # fmt: skip
    made.save()
    Path(ports.directory, LOG).write_text("\n".join(machine.log) + "\n")
    console, log = machine.channel.console.give_away()
    # The command forks the keeper and returns at once; do not wait for the keeper itself.
    subprocess.run(
        [sys.executable, "-m", "ksmlab.vm.keep", str(console), str(log), str(ports.directory)],
        pass_fds=(console, log), start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    GOES_ON.append(machine.channel.console.process)
    for descriptor in (console, log):
        os.close(descriptor)
    return made


def drain(console: int, log: int, directory: Path) -> None:
    """Read a VM's console and log until both have ended, and store the log; then remove the VM's directory.

    Args:
        console: The file descriptor of the console, whose output is discarded.
        log: The file descriptor of the kernel log.
        directory: The directory of the VM.
    """
    waiting = {console, log}
    with (directory / LOG).open("ab", buffering=0) as kernel_log:
        while waiting:
            for descriptor in select.select(list(waiting), [], [])[0]:
                try:
                    data = os.read(descriptor, READ_BYTES)
                except OSError:
                    data = b""
                if not data:
                    waiting.discard(descriptor)
                elif descriptor == log:
                    kernel_log.write(data)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__" and not os.fork():
    drain(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
