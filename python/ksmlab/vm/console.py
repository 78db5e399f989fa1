"""A process on a terminal of its own, with its error output apart: what a VM's console and kernel log are read from.

The process is the leader of a session whose terminal we hold. So all its descendants can be signalled together, and
if we die without a word, the kernel hangs the terminal up and they end, too.
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
    """Make a terminal pass on every byte unchanged, even after QEMU has set it up again, which turns on OPOST."""
    tty.setraw(terminal)
    mode = termios.tcgetattr(terminal)
    mode[tty.OFLAG] &= ~(termios.ONLCR | termios.OCRNL)
    termios.tcsetattr(terminal, termios.TCSANOW, mode)


class LineReader(threading.Thread):
    """Read a pipe to its end, line by line.

    Args:
        descriptor: The pipe; closed at its end.
        on_line: Called with each line, on this thread.
    """

    def __init__(self, descriptor: int, on_line: Callable[[str], None]) -> None:
        """Keep the arguments; see the class."""
        super().__init__(name="kernel-log", daemon=True)
        self.lines: deque[str] = deque(maxlen=KEEP_LINES)
        #: When the last line came, by time.monotonic().
        self.last = 0.0
        self._descriptor = descriptor
        self._on_line = on_line

    def run(self) -> None:
        """Read until every writer has closed its end."""
        with os.fdopen(self._descriptor, "rb") as pipe:
            for raw in pipe:
                line = raw.decode(errors="replace").rstrip("\r\n")
                self.lines.append(line)
                self.last = time.monotonic()
                self._on_line(line)


class Console:
    """Start a program on a new terminal, and end it with all that it started.

    Args:
        argv: The program and its arguments.
        env: Its environment.
        on_log: Called with each line of its error output, on another thread.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], on_log: Callable[[str], None]
    ) -> None:
        """Start it; see the class."""
        self.terminal, slave = pty.openpty()
        _pass_bytes(slave)
        log_read, log_write = os.pipe()
        try:
            # setsid makes the terminal that of its session; it is no group leader yet, so it does not fork. When this
            # process is gone, the hangup of the terminal ends the VM. env restores the default action of SIGHUP, which
            # nohup sets to ignore.
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
        # The terminal is ours to close.
        # Ready to write means ready for some of it, not for all of it.
        os.set_blocking(self.terminal, False)
        self.expect: Any = fdpexpect.fdspawn(self.terminal, timeout=None)
        self._closed = False

    def read(self, timeout: float) -> bytes | None:
        """Read what the console printed.

        Args:
            timeout: Seconds to wait for something.

        Returns:
            The bytes, b"" if there were none in time, None if the other side has closed.
        """
        try:
            data: bytes = self.expect.read_nonblocking(READ_BYTES, timeout)
        except pexpect.TIMEOUT:
            return b""
        except (pexpect.EOF, OSError):
            return None
        return data

    def write(self, data: bytes) -> None:
        """Type `data`, all of it.

        Raises:
            OSError: The other side has closed, or has not taken it for a long time.
        """
        while data:
            if not select.select([], [self.terminal], [], WRITE_SECONDS)[1]:
                raise TimeoutError(f"the console took nothing for {WRITE_SECONDS:.0f} s")
            data = data[os.write(self.terminal, data[:WRITE_BYTES]) :]

    def wait_gone(self, timeout: float) -> bool:
        """Wait until the program and all that it started have ended.

        The last of them to end closes the pipe that the log is read from: that is what is waited for.
        """
        deadline = time.monotonic() + timeout
        self.log.join(timeout)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        return not self.log.is_alive() and self.process.returncode is not None

    def give_away(self) -> tuple[int, int]:
        """Leave everything running, for another process to hold.

        Returns:
            The terminal and the log's pipe, for that process to read; to be closed here once it has them. Whatever
            holds neither of them ends all that was started.
        """
        self._closed = True
        return os.dup(self.terminal), os.dup(self._log_read)

    def close(self) -> None:
        """End everything, kindly first; close what is open. May be called again."""
        if self._closed:
            return
        self._closed = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            # Just after its start it may not lead a group yet.
            self.process.send_signal(number)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)
            if self.wait_gone(END_SECONDS):
                break
        os.close(self.terminal)
