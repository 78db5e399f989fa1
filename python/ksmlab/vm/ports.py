"""Connect to a VM over sockets on the host: its virtio-serial ports, QEMU's monitor, and QEMU's gdb stub."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ksmlab.vm.errors import VmError
from ksmlab.vm.failures import cause
from ksmlab.vm.path_checks import storage_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The prefix of the names of the directories that contain the sockets of a VM.
PREFIX = "ksmlab-vm-"
#: The parent of these directories. It is not TMPDIR, since the path of a socket may have at most 107 bytes and, for
#: QEMU, no comma.
SOCKETS = Path("/tmp")
QMP = "qmp"
GDB = "gdb"
CONNECT_SECONDS = 10.0
MONITOR_SECONDS = 10.0


class Ports:
    """The sockets of one VM, in their own directory.

    Args:
        names: The names of the virtio-serial ports, by which the guest finds them (/sys/class/virtio-ports/*/name).
        gdb: Whether a debugger may attach to the VM.
    """

    def __init__(self, names: Sequence[str], *, gdb: bool = False) -> None:
        """Create the directory. QEMU creates the sockets.

        Raises:
            VmError: The directory cannot be created.
        """
        with storage_errors(SOCKETS):
            self.directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=SOCKETS))
        self._names = tuple(names)
        self._gdb = gdb

    def path(self, name: str) -> Path:
        """Return the path of a socket: `name` is the name of a port, QMP, or GDB."""
        return self.directory / f"{name}.sock"

    @property
    def qemu_options(self) -> tuple[str, ...]:
        """The QEMU options that create the sockets."""
        options = ["-qmp", f"unix:{self.path(QMP)},server=on,wait=off"]
        if self._gdb:
            options += ["-gdb", f"unix:{self.path(GDB)},server=on,wait=off"]
        options += ["-device", "virtio-serial-pci,id=ksmlab"]
        for name in self._names:
            options += ["-chardev", f"socket,id={name},path={self.path(name)},server=on,wait=off"]
            options += ["-device", f"virtserialport,bus=ksmlab.0,chardev={name},name={name}"]
        return tuple(options)

    def connect(self, name: str) -> socket.socket:
        """Connect to a socket of a running VM.

        Raises:
            VmError: The VM does not answer.
        """
        return connect(self.path(name))

    def inject_nmi(self) -> None:
        """Send a non-maskable interrupt to the VM's CPUs, which works even while interrupts are disabled.

        Raises:
            VmError: QEMU does not answer, or refused the command.
        """
        execute(self.path(QMP), "inject-nmi")

    def close(self) -> None:
        """Remove the directory. May be called again."""
        shutil.rmtree(self.directory, ignore_errors=True)


def connect(path: Path) -> socket.socket:
    """Connect to a socket of a running VM.

    Raises:
        VmError: The VM does not answer.
    """
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(CONNECT_SECONDS)
    try:
        line.connect(str(path))
    except OSError as error:
        line.close()
        raise VmError(
            f"The VM does not answer on {path}: {error.strerror}.",
            untouched="Nothing was changed.",
            hint="The VM has ended.",
        ) from error
    line.settimeout(None)
    return line


def execute(
    path: Path,
    command: str,
    arguments: Mapping[str, object] | None = None,
    seconds: float = MONITOR_SECONDS,
) -> None:
    """Have QEMU execute a command of its monitor protocol (QMP), and wait for the answer.

    Args:
        path: The socket of the protocol.
        command: The name of the command.
        arguments: Its arguments.
        seconds: How long the answer may take.

    Raises:
        VmError: QEMU does not answer, or refused.
    """
    with connect(path) as line, line.makefile("rw") as stream:
        line.settimeout(seconds)
        try:
            stream.readline()
            for name, given in (("qmp_capabilities", {}), (command, arguments or {})):
                stream.write(json.dumps({"execute": name, "arguments": given}) + "\n")
                stream.flush()
                answer = _answer(stream)
                if "error" in answer:
                    raise VmError(f"QEMU refused {name}: {answer['error']['desc']}.")
        except (OSError, ValueError) as error:
            raise VmError(f"QEMU's monitor does not answer: {cause(error)}.") from error


def _answer(stream: IO[str]) -> dict[str, Any]:
    """Read QEMU's answer to a command, and skip the events before it."""
    while True:
        answer: dict[str, Any] = json.loads(stream.readline())
        if "event" not in answer:
            return answer
