"""VMs that are kept after their tests, for a person to look at: who holds them, and how they are found again.

A VM ends when nobody holds its console. So a process of its own takes the console over, and drains it.

    python -m ksmlab.vm.keep CONSOLE LOG DIRECTORY
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ksmlab.vm.errors import VmError
from ksmlab.vm.ports import GDB, PREFIX

if TYPE_CHECKING:
    from ksmlab.vm.machine import Machine
    from ksmlab.vm.ports import Ports

FACTS = "kept.json"
LOG = "kernel.log"
READ_BYTES = 1 << 16
END_SECONDS = 10.0
LOOK_SECONDS = 0.1
#: What goes on without this process. Python would warn that it still runs, when nobody refers to it any more.
GOES_ON: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Kept:
    """A VM that was kept.

    Attributes:
        name: What a person calls it by.
        kernel: The name of its kernel.
        pid: The process that leads its process group.
        directory: Where its sockets are.
        why: What happened before it was kept.
        objects: Files with debug information, by module name.
        sections: For each module the addresses of its sections, by their names.
    """

    name: str
    kernel: str
    pid: int
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
        parts.append(f"-ex 'target remote {Path(self.directory, f'{GDB}.sock')}'")
        for module, sections in sorted(self.sections.items()):
            text = sections.get(".text")
            if text and module in self.objects:
                more = "".join(
                    f" -s {name} {address}"
                    for name, address in sorted(sections.items())
                    if name in {".data", ".bss", ".rodata"}
                )
                parts.append(f"-ex 'add-symbol-file {self.objects[module]} {text}{more}'")
        return " ".join(parts)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what was written about it."""
        return cls(**json.loads(path.read_text()))

    def save(self) -> None:
        """Write it where `kept` finds it."""
        Path(self.directory, FACTS).write_text(json.dumps(asdict(self), indent=1) + "\n")

    def end(self) -> None:
        """End the VM, and wait until it is gone.

        Raises:
            VmError: It does not go.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
            deadline = time.monotonic() + END_SECONDS
            while time.monotonic() < deadline:
                if not Path(self.directory).exists():
                    return
                time.sleep(LOOK_SECONDS)
        raise VmError(f"The VM {self.name} (process group {self.pid}) does not end.")


def kept(directory: Path | None = None) -> list[Kept]:
    """List the VMs that are kept, the newest last.

    Args:
        directory: Where VMs have their sockets, if not in the usual place.
    """
    found = (directory or Path(tempfile.gettempdir())).glob(f"{PREFIX}*/{FACTS}")
    return [Kept.load(path) for path in sorted(found, key=lambda path: path.stat().st_mtime)]


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
        name, machine.kernel.name, machine.pid, str(ports.directory), why, objects, sections
    )
    made.save()
    Path(ports.directory, LOG).write_text("\n".join(machine.log) + "\n")
    console, log = machine.channel.console.give_away()
    keeper = subprocess.Popen(
        [sys.executable, "-m", "ksmlab.vm.keep", str(console), str(log), str(ports.directory)],
        pass_fds=(console, log), start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    GOES_ON.extend((keeper, machine.channel.console.process))
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


if __name__ == "__main__":
    drain(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
