"""Send requests to the guest over its console, and read their output within time limits.

vm/guest/session.sh answers in the guest, and describes the protocol.
"""

from __future__ import annotations

import base64
import codecs
import re
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from ksmlab.vm.console import Console
    from ksmlab.vm.errors import VmError

READY = re.compile(b"\x1evm-session ready\x1e")
# A mark whose second separator has not been read yet.
PARTIAL_MARK = re.compile(rb"\x1e[0-9a-z -]{0,64}\Z")
TICK_SECONDS = 0.25
# The report of a panic is complete when the log has been silent for this many seconds, multiplied by the slowness of
# the VM. QEMU ends then.
PANIC_SECONDS = 5.0
# After this multiple of PANIC_SECONDS, do not wait for the end of the report even if the kernel still prints.
PANIC_PATIENCE = 12
# Keep only this many characters of output, since a command may print without end.
KEPT_CHARACTERS = 16 << 20


class ChannelClosed(Exception):
    """The guest will not answer any more, because its console has closed or its kernel has panicked."""


class Overdue(Exception):
    """A time limit has passed.

    Args:
        limit: The limit.
    """

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit.error.what)
        self.limit = limit


@dataclass
class Limit:
    """A time limit, and the error to raise when it passes.

    Attributes:
        seconds: Its length in seconds.
        error: The error.
        idle: Whether each output restarts the limit.
        start: The time at which it started, as given by time.monotonic().
    """

    seconds: float
    error: VmError
    idle: bool = False
    start: float = field(default_factory=time.monotonic)

    def passed(self, now: float) -> bool:
        """Return whether the limit has passed at the time `now`."""
        return now - self.start > self.seconds


class Request:
    """A script that was sent to the guest.

    Args:
        token: The token in the marks before and after its output.
    """

    def __init__(self, token: str) -> None:
        mark = b"\x1e" + token.encode()
        self.begin = re.compile(mark + b" begin\x1e")
        self.end = re.compile(mark + rb" end (\d+)\x1e")


class Channel:
    """The host's side of the protocol.

    Args:
        console: The guest's console.
        panicked: An event that is set when the log of the guest's kernel reports a panic.
        slowness: The factor by which the VM is slower than one with KVM and an ordinary kernel.
    """

    def __init__(self, console: Console, panicked: threading.Event, slowness: float = 1) -> None:
        self.console = console
        self._panicked = panicked
        self._slowness = slowness
        self._pending = b""

    def request(self, verb: str, script: str) -> Request:
        """Send the guest a bash script to run.

        Args:
            verb: "run" to run the script, "shell" to start an interactive shell after it.
            script: The script, of any length.

        Returns:
            The request, with the marks that enclose the output.

        Raises:
            ChannelClosed: The console has closed.
        """
        token = secrets.token_hex(16)
        payload = base64.b64encode(script.encode(errors="surrogateescape")).decode()
        try:
            self.console.write(f"{verb} {token} {payload}\n".encode())
        except OSError:
            raise ChannelClosed from None
        return Request(token)

    def read_to(
        self,
        mark: re.Pattern[bytes],
        limits: Sequence[Limit],
        on_bytes: Callable[[bytes], None] = lambda _: None,
    ) -> re.Match[bytes]:
        """Read the console up to a mark.

        Args:
            mark: A regular expression that begins and ends with a record separator.
            limits: The time limits.
            on_bytes: Called with the bytes that precede the mark, as they arrive.

        Returns:
            The match of the mark.

        Raises:
            Overdue: A limit has passed.
            ChannelClosed: The guest will not send the mark any more.
        """
        try:
            return self._read_to(mark, limits, on_bytes)
        except (ChannelClosed, Overdue):
            on_bytes(self.take_pending())
            raise

    def _read_to(
        self,
        mark: re.Pattern[bytes],
        limits: Sequence[Limit],
        on_bytes: Callable[[bytes], None],
    ) -> re.Match[bytes]:
        panic_seen: float | None = None
        while True:
            if found := mark.search(self._pending):
                on_bytes(self._pending[: found.start()])
                self._pending = self._pending[found.end() :]
                return found
            sure = before_partial_mark(self._pending)
            on_bytes(self._pending[:sure])
            self._pending = self._pending[sure:]
            now = time.monotonic()
            if self._panicked.is_set():
                panic_seen = panic_seen or now
                silence = PANIC_SECONDS * self._slowness
                said_last = max(panic_seen, self.console.log.last)
                if now > min(said_last + silence, panic_seen + PANIC_PATIENCE * silence):
                    raise ChannelClosed
            else:
                for limit in limits:
                    if limit.passed(now):
                        raise Overdue(limit)
            data = self.console.read(TICK_SECONDS)
            if data is None:
                raise ChannelClosed
            if data:
                self._pending += data
                for limit in limits:
                    if limit.idle:
                        limit.start = now

    def take_pending(self) -> bytes:
        """Return the bytes that were read but not passed on, and clear them."""
        pending, self._pending = self._pending, b""
        return pending


class Output:
    """Decode output as it arrives, pass it on, and store the last KEPT_CHARACTERS of it.

    Args:
        on_output: Called with each decoded piece, if given.
    """

    def __init__(self, on_output: Callable[[str], None] | None) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._on_output = on_output
        self._parts: deque[str] = deque()
        self._length = 0

    def feed(self, data: bytes) -> None:
        """Decode more bytes, which may end in the middle of a character."""
        piece = self._decoder.decode(data)
        if piece:
            self._parts.append(piece)
            self._length += len(piece)
            while self._length > KEPT_CHARACTERS and len(self._parts) > 1:
                self._length -= len(self._parts.popleft())
            if self._on_output is not None:
                self._on_output(piece)

    @property
    def text(self) -> str:
        """The output so far; only its end if it is longer than KEPT_CHARACTERS."""
        return "".join(self._parts)


def before_partial_mark(data: bytes) -> int:
    """Return the number of bytes before a possible incomplete mark at the end of `data`."""
    found = PARTIAL_MARK.search(data)
    return found.start() if found else len(data)
