"""Serve shells to `ksmlab vm attach`, in the guest, over a virtio-serial port.

    python -m ksmlab.vm.guest_shell PORT

The program runs until the VM ends, and serves a new shell after each one that has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

READ_BYTES = 4096
#: Seconds between two reads of a port while no host process is connected to it: poll() cannot wait for a connection.
LOOK_SECONDS = 0.2
SYSFS = Path("/sys/class/virtio-ports")


def find_port(name: str, sysfs: Path = SYSFS, dev: Path = Path("/dev")) -> Path:
    """Return the device of a virtio-serial port in the guest. This does not rely on udev.

    Raises:
        FileNotFoundError: The VM has no such port.
    """
    for described in sysfs.glob("*/name"):
        if described.read_text().strip() == name:
            return dev / described.parent.name
    raise FileNotFoundError(f"this VM has no virtio-serial port called {name}")


def read(port: int) -> bytes:
    """Wait for the next bytes from the host; return b"" if the host has disconnected."""
    poll = select.poll()
    poll.register(port, select.POLLIN)
    poll.poll()
    return os.read(port, READ_BYTES)


def greeting(port: int) -> dict[str, str | int]:
    """Wait until the host connects, and return the description of its terminal.

    The host sends it first, as one line of JSON.
    """
    line = b""
    while not line.endswith(b"\n"):
        data = read(port)
        if not data:
            line = b""
            time.sleep(LOOK_SECONDS)
        line += data
    said: dict[str, str | int] = json.loads(line)
    return said


def serve(port: int) -> None:
    """Serve one shell, until it ends or the host disconnects."""
    said = greeting(port)
    pid, terminal = pty.fork()
    if not pid:
        os.environ.update({"TERM": str(said["term"]), "PS1": "vm:\\w# "})
        os.execvp("bash", ["bash", "--norc"])
    size = struct.pack("HHHH", int(said["rows"]), int(said["columns"]), 0, 0)
    ioctl(terminal, termios.TIOCSWINSZ, size)
    try:
        copy(port, terminal)
    finally:
        os.close(terminal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
        os.waitpid(pid, 0)


def copy(port: int, terminal: int) -> None:
    """Copy bytes in both directions until one side ends."""
    while True:
        for descriptor in select.select([port, terminal], [], [])[0]:
            try:
                data = os.read(descriptor, READ_BYTES)
            except OSError:
                # read() fails for a terminal whose shell has ended.
                data = b""
            if not data:
                return
            target = terminal if descriptor == port else port
            while data:
                data = data[os.write(target, data) :]


def main() -> None:
    """Serve shells until the VM ends."""
    port = os.open(find_port(sys.argv[1]), os.O_RDWR | os.O_CLOEXEC)
    while True:
        serve(port)
        # greeting() discards the bytes that the user types from now on until the host disconnects.
        os.write(port, b"\r\n[the shell has ended; Ctrl-] leaves the VM]\r\n")


if __name__ == "__main__":
    main()
