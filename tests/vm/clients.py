"""C programs for tests: compiled against the driver's header alone, heard line by line."""

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
#: Clients that the host compiled, which is quicker than to do it under emulation.
PREBUILT = ROOT / "build/clients"
FLAGS = ["-O1", "-Wall", "-Wextra", "-Werror", "-I", str(UAPI)]


@functools.cache
def binary(name: str) -> str:
    """Compile tests/clients/NAME.c, unless the host has done it; return the program's path."""
    source = SOURCES / f"{name}.c"
    newest = max(path.stat().st_mtime for path in (source, UAPI / "linux/ksm.h"))
    prebuilt = PREBUILT / name
    if prebuilt.exists() and prebuilt.stat().st_mtime >= newest:
        return str(prebuilt)
    path = Path(tempfile.mkdtemp(prefix="ksmlab-"), name)
    subprocess.run(["gcc", *FLAGS, "-o", str(path), str(source)], check=True)
    return str(path)


class Client:
    """A running client: lines come from it, one line to it ends it."""

    def __init__(self, name: str, *arguments: str) -> None:
        """Start tests/clients/NAME.c with arguments."""
        argv = [binary(name), *arguments]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._pending = b""
        self.pid = self._process.pid
        self.lines: list[str] = []

    def line(self, deadline: float) -> str:
        """Return its next line.

        Args:
            deadline: seconds from now, on an ordinary CPU.

        Raises:
            EOFError: it has closed its output.
            TimeoutError: no line came in time; the text has those that did.
        """
        return self._line(time.monotonic() + patient(deadline))

    def _line(self, end: float) -> str:
        """Return its next line, if it comes before that time of the monotonic clock."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._pending:
            if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"no line in time; so far: {self.lines}")
            data = os.read(fd, 65536)
            if not data:
                raise EOFError(f"the client has ended; it said: {self.lines}")
            self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        self.lines.append(line.decode())
        return self.lines[-1]

    def wait_line(self, start: str, deadline: float) -> str:
        """Return its next line that starts so; errors are those of line()."""
        end = time.monotonic() + patient(deadline)
        while not (line := self._line(end)).startswith(start):
            pass
        return line

    def finish(self, deadline: float) -> int:
        """Tell it to end, read what is left of its output, and return its exit status."""
        out, _ = self._process.communicate(b"\n", timeout=patient(deadline))
        self.lines += (self._pending + out).decode().splitlines()
        self._pending = b""
        return self._process.returncode

    def close(self) -> None:
        """End it by force if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
