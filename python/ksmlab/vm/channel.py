"""Requests to the guest's end of the console (vm/guest/session.sh), and their output, within time limits."""

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
# What a mark looks like before its second separator has come.
PARTIAL_MARK = re.compile(rb"\x1e[0-9a-z -]{0,64}\Z")
TICK_SECONDS = 0.25
# When the log of a panicked kernel is silent for this long, its report is complete; longer where printing is slow. QEMU
# ends then.
PANIC_SECONDS = 5.0
# After this multiple of PANIC_SECONDS, do not wait for the end of the report even if the kernel still prints.
PANIC_PATIENCE = 12
# A command may print for days.
KEPT_CHARACTERS = 16 << 20


class ChannelClosed(Exception):
    """The guest does not answer any more: its console has closed, or its kernel has panicked."""


class Overdue(Exception):
    """A limit has passed.

    Args:
        limit: Which one.
    """

    def __init__(self, limit: Limit) -> None:
        """Keep the limit."""
        super().__init__(limit.error.what)
        self.limit = limit


@dataclass
class Limit:
    """A time limit, and the error to raise when it passes.

    Attributes:
        seconds: Its length in seconds.
        error: The error.
        idle: Whether the limit starts again with each output.
        start: Its start, by time.monotonic().
    """

    seconds: float
    error: VmError
    idle: bool = False
    start: float = field(default_factory=time.monotonic)

    def passed(self, now: float) -> bool:
        """Return whether the limit has passed at the time `now`."""
        return now - self.start > self.seconds


class Request:
    """A script that the guest has been given.

    Args:
        token: What its output is framed with.
    """

    def __init__(self, token: str) -> None:
        """Keep the token's marks."""
        mark = b"\x1e" + token.encode()
        self.begin = re.compile(mark + b" begin\x1e")
        self.end = re.compile(mark + rb" end (\d+)\x1e")


class Channel:
    """The host's end.

    Args:
        console: The terminal that the guest's console is on.
        panicked: Set when the kernel's log says that it has panicked.
        slowness: How many times as long as on a quick machine a report of its kernel takes.
    """

    def __init__(self, console: Console, panicked: threading.Event, slowness: float = 1) -> None:
        """Keep the arguments."""
        self.console = console
        self._panicked = panicked
        self._slowness = slowness
        self._pending = b""

    def request(self, verb: str, script: str) -> Request:
        """Send the guest a bash script to run.

        Args:
            verb: "run" for a command, "shell" to have an interactive shell after it.
            script: The script, of any length.

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
            mark: A regular expression between two record separators.
            limits: Which times to watch meanwhile.
            on_bytes: Called with all that comes before the mark, as it comes.

        Raises:
            Overdue: A limit has passed.
            ChannelClosed: The mark will never come.
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
        """Give what has been read and not been passed on, and forget it."""
        pending, self._pending = self._pending, b""
        return pending


class Output:
    """Decode output as it comes, pass it on, and keep it, or its end.

    Args:
        on_output: Called with each piece, if given.
    """

    def __init__(self, on_output: Callable[[str], None] | None) -> None:
        """Start with nothing."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._on_output = on_output
        self._parts: deque[str] = deque()
        self._length = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes, which may end in the middle of a character."""
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
        """All of it so far; of what is longer than KEPT_CHARACTERS, the end."""
        return "".join(self._parts)


def before_partial_mark(data: bytes) -> int:
    """Give how many bytes of `data` cannot belong to a mark that has not come in whole."""
    found = PARTIAL_MARK.search(data)
    return found.start() if found else len(data)
