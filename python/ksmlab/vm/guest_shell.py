"""The guest's end of `ksmlab vm attach`: a shell on a terminal of its own, over a virtio-serial port.

    python -m ksmlab.vm.guest_shell PORT

It outlives the tests, and serves again when a shell has ended.
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
    """Give a virtio-serial port's device in the guest; udev need not have run.

    Raises:
        FileNotFoundError: The VM has no such port.
    """
    for described in sysfs.glob("*/name"):
        if described.read_text().strip() == name:
            return dev / described.parent.name
    raise FileNotFoundError(f"this VM has no virtio-serial port called {name}")


def read(port: int) -> bytes:
    """Wait for the next bytes from the host; none when it has hung up."""
    poll = select.poll()
    poll.register(port, select.POLLIN)
    poll.poll()
    return os.read(port, READ_BYTES)


def greeting(port: int) -> dict[str, str | int]:
    """Wait until a person's terminal connects, and return the description that it sends first.

    The description is one line of JSON.
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
    """Give one person a shell, to its end or until they hang up."""
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
    """Copy both ways until one side ends."""
    while True:
        for descriptor in select.select([port, terminal], [], [])[0]:
            try:
                data = os.read(descriptor, READ_BYTES)
            except OSError:
                # A terminal whose shell has ended reads as an error.
                data = b""
            if not data:
                return
            target = terminal if descriptor == port else port
            while data:
                data = data[os.write(target, data) :]


def main() -> None:
    """Serve for as long as the VM lives."""
    port = os.open(find_port(sys.argv[1]), os.O_RDWR | os.O_CLOEXEC)
    while True:
        serve(port)
        # greeting() discards the bytes that the person types from here until they hang up.
        os.write(port, b"\r\n[the shell has ended; Ctrl-] leaves the VM]\r\n")


if __name__ == "__main__":
    main()
