"""Compile and run the C programs in tests/clients, which use only the driver's header, and read their output."""

from __future__ import annotations

import functools
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path

from ksmlab.patience import patient

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tests/clients"
UAPI = ROOT / "kernel/include/uapi"
#: Clients compiled on the host, which is faster than compiling under emulation.
PREBUILT = ROOT / "build/clients"
FLAGS = ["-O1", "-Wall", "-Wextra", "-Werror", "-I", str(UAPI)]


@functools.cache
def binary(name: str) -> str:
    """Return the path of the program tests/clients/NAME.c; compile it unless the host has done so."""
    source = SOURCES / f"{name}.c"
    newest = max(path.stat().st_mtime for path in (source, UAPI / "linux/ksm.h"))
    prebuilt = PREBUILT / name
    if prebuilt.exists() and prebuilt.stat().st_mtime >= newest:
        return str(prebuilt)
    path = Path(tempfile.mkdtemp(prefix="ksmlab-"), name)
    subprocess.run(["gcc", *FLAGS, "-o", str(path), str(source)], check=True)
    return str(path)


class Client:
    """A running client. It prints lines, and ends when it reads a line.

    Attributes:
        pid: Its PID.
        lines: The lines that were read so far.
    """

    def __init__(self, name: str, *arguments: str) -> None:
        """Start tests/clients/NAME.c with arguments."""
        argv = [binary(name), *arguments]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._pending = b""
        self.pid = self._process.pid
        self.lines: list[str] = []

    def line(self, deadline: float) -> str:
        """Return the next line of output.

        Args:
            deadline: The time limit in seconds for an ordinary machine.

        Raises:
            EOFError: The client has closed its output.
            TimeoutError: There is no line in time; the text has the earlier lines.
        """
        return self._line(time.monotonic() + patient(deadline))

    def _line(self, end: float) -> str:
        """Return the next line of output. `end` is a time of time.monotonic()."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._pending:
            if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(
                    f"the client printed no line in time; lines so far: {self.lines}"
                )
            data = os.read(fd, 65536)
            if not data:
                raise EOFError(f"the client has ended; its output was: {self.lines}")
            self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        self.lines.append(line.decode())
        return self.lines[-1]

    def wait_line(self, start: str, deadline: float) -> str:
        """Return the next line that begins with `start`. Raises the errors of line()."""
        end = time.monotonic() + patient(deadline)
        while not (line := self._line(end)).startswith(start):
            pass
        return line

    def finish(self, deadline: float) -> int:
        """Let the client end, read the rest of its output, and return its exit status."""
        out, _ = self._process.communicate(b"\n", timeout=patient(deadline))
        self.lines += (self._pending + out).decode().splitlines()
        self._pending = b""
        return self._process.returncode

    def close(self) -> None:
        """Kill the client if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
