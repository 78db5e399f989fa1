"""Run a process on its own terminal, and read its standard error separately.

A VM uses the terminal as its console, and writes its kernel log to standard error. The process leads a session whose
terminal this process holds. So a signal reaches all its descendants, and if this process is killed, the kernel hangs
up the terminal and thereby ends them.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import termios
import threading
import time
import tty
from collections import deque
from typing import TYPE_CHECKING, Any

import pexpect
from pexpect import fdpexpect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

KEEP_LINES = 20_000
END_SECONDS = 5.0
READ_BYTES = 1 << 16
WRITE_SECONDS = 30.0
WRITE_BYTES = 1024


def _pass_bytes(terminal: int) -> None:
    """Set a terminal to pass on each byte unchanged, even after QEMU has turned on OPOST."""
    tty.setraw(terminal)
    mode = termios.tcgetattr(terminal)
    mode[tty.OFLAG] &= ~(termios.ONLCR | termios.OCRNL)
    termios.tcsetattr(terminal, termios.TCSANOW, mode)


class LineReader(threading.Thread):
    """A thread that reads a pipe line by line, and stores the last lines.

    Args:
        descriptor: The pipe, which is closed at its end.
        on_line: Called with each line, on this thread.
    """

    def __init__(self, descriptor: int, on_line: Callable[[str], None]) -> None:
        super().__init__(name="kernel-log", daemon=True)
        self.lines: deque[str] = deque(maxlen=KEEP_LINES)
        #: The time of the last line, as given by time.monotonic().
        self.last = 0.0
        self._descriptor = descriptor
        self._on_line = on_line

    def run(self) -> None:
        """Read until every writer has closed the pipe."""
        with os.fdopen(self._descriptor, "rb") as pipe:
            for raw in pipe:
                line = raw.decode(errors="replace").rstrip("\r\n")
                self.lines.append(line)
                self.last = time.monotonic()
                self._on_line(line)


class Console:
    """A program on a new terminal.

    Args:
        argv: The program and its arguments.
        env: Its environment.
        on_log: Called with each line of its standard error, on another thread.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], on_log: Callable[[str], None]
    ) -> None:
        """Start the program; see the class."""
        self.terminal, slave = pty.openpty()
        _pass_bytes(slave)
        log_read, log_write = os.pipe()
        try:
            # setsid makes the terminal the controlling terminal of a new session. It does not fork, since it is not a
            # process group leader. When this process ends, the hangup of the terminal ends the VM. env restores the
            # default action of SIGHUP, which nohup may have set to ignore.
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                ["env", "--default-signal=HUP", "setsid", "--ctty", *argv],
                stdin=slave,
                stdout=slave,
                stderr=log_write,
                env=dict(env),
            )
        except BaseException:
            os.close(self.terminal)
            os.close(log_read)
            raise
        finally:
            os.close(slave)
            os.close(log_write)
        self._log_read = log_read
        self.log = LineReader(log_read, on_log)
        self.log.start()
        # A terminal that is ready for writing may not accept all bytes, so a blocking write could wait for ever.
        os.set_blocking(self.terminal, False)
        self.expect: Any = fdpexpect.fdspawn(self.terminal, timeout=None)
        self._closed = False

    def read(self, timeout: float) -> bytes | None:
        """Read output of the console.

        Args:
            timeout: The most seconds to wait.

        Returns:
            The bytes, b"" if there were none in time, or None if the other side has closed.
        """
        try:
            data: bytes = self.expect.read_nonblocking(READ_BYTES, timeout)
        except pexpect.TIMEOUT:
            return b""
        except (pexpect.EOF, OSError):
            return None
        return data

    def write(self, data: bytes) -> None:
        """Write all of `data` as input to the console.

        Raises:
            OSError: The other side has closed, or has read nothing for WRITE_SECONDS.
        """
        while data:
            if not select.select([], [self.terminal], [], WRITE_SECONDS)[1]:
                raise TimeoutError(f"the console has read no input for {WRITE_SECONDS:.0f} s")
            data = data[os.write(self.terminal, data[:WRITE_BYTES]) :]

    def wait_gone(self, timeout: float) -> bool:
        """Wait until the program and all its descendants have ended, and return whether they have.

        The last of them to end closes the pipe of the log, so this method waits for the end of the log.

        Args:
            timeout: The most seconds to wait.
        """
        deadline = time.monotonic() + timeout
        self.log.join(timeout)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        return not self.log.is_alive() and self.process.returncode is not None

    def give_away(self) -> tuple[int, int]:
        """Leave the program running, to pass it to another process.

        Returns:
            File descriptors of the terminal and of the log's pipe. Pass them to the other process, and then close
            them. The program ends when no process holds the terminal.
        """
        self._closed = True
        return os.dup(self.terminal), os.dup(self._log_read)

    def close(self) -> None:
        """End the program and its descendants, with SIGTERM and then SIGKILL. May be called again."""
        if self._closed:
            return
        self._closed = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            # Signal the process itself as well: just after its start, it may not lead a process group yet.
            self.process.send_signal(number)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)
            if self.wait_gone(END_SECONDS):
                break
        os.close(self.terminal)
