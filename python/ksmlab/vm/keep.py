"""Keep VMs after their tests, so that a person can examine them; list the kept VMs, and end them.

A VM ends when no process holds its console. So a separate process takes the console over, and drains it.

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
    """A VM that was kept.

    Attributes:
        name: What a person calls it by.
        kernel: The name of its kernel.
        pid: The process that leads its process group.
        started: When that process started: another one may have its number by now. See `start_time`.
        directory: Where its sockets are.
        why: What happened before it was kept.
        objects: Files with debug information, by module name.
        sections: For each module the addresses of its sections, by their names.
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
        """What a person types on the host to debug its kernel."""
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
        """Whether its process is still there."""
        return start_time(self.pid) == self.started

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read what was written about it; None if it is not of this user's, or not what `save` writes."""
        try:
            if {path.lstat().st_uid, path.parent.lstat().st_uid} != {os.geteuid()}:
                return None
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self) -> None:
        """Write it where `kept` finds it."""
        Path(self.directory, FACTS).write_text(json.dumps(asdict(self), indent=1) + "\n")

    def end(self) -> None:
        """End the VM, and wait until it is gone.

        Raises:
            VmError: It does not go.
        """
        if not self.alive:
            shutil.rmtree(self.directory, ignore_errors=True)
            return
        # The kernel does not reuse the group's number while one of its processes is left.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
            deadline = time.monotonic() + END_SECONDS
            while time.monotonic() < deadline:
                if not Path(self.directory).exists():
                    return
                time.sleep(LOOK_SECONDS)
        raise VmError(
            f"The VM {self.name} (process group {self.pid}) does not end.",
            untouched=f"What belongs to it is still in {self.directory}.",
            hint=f"See what is left of it:  ps -o pid,stat,cmd -g {self.pid}",
        )


def start_time(pid: int) -> int | None:
    """Say when a process started, in clock ticks after the host's boot (proc(5), /proc/PID/stat, field 22).

    None if there is none of that number, or it has ended and is only not yet waited for.
    """
    try:
        # The second field is a name that may have anything in it.
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
        # It may end while it is looked at.
        with contextlib.suppress(FileNotFoundError):
            if made.alive:
                there.append((path.stat().st_mtime, made))
            else:
                shutil.rmtree(path.parent, ignore_errors=True)
    return [made for _, made in sorted(there, key=lambda pair: pair[0])]


def find(name: str | None) -> Kept:
    """Give a kept VM, the newest if no name is given.

    Raises:
        VmError: There is none.
    """
    every = kept()
    for each in reversed(every):
        if name in (None, each.name):
            return each
    there = f"There are: {', '.join(each.name for each in every)}." if every else ""
    raise VmError(
        f"No VM called {name} is kept." if name else "No VM is kept.",
        untouched="Every VM is as it was.",
        hint=there or "pytest --vm-keep keeps one when a test has failed.",
    )


def keep(
    machine: Machine, ports: Ports, why: str,
    objects: dict[str, str], sections: dict[str, dict[str, str]],
) -> Kept:  # fmt: skip
    """Hand a VM over to a process that keeps it when this one ends.

    Args:
        machine: It; of no more use here afterwards.
        ports: Its sockets, which stay.
        why: What a person is told about it.
        objects: Files with debug information, by module name.
        sections: Addresses of the modules' sections.
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
    """Read a VM's console and log until both have ended, then remove its directory."""
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
