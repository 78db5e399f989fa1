"""The connection between the two pytests, over a virtio-serial port: each frame is a JSON object on one line."""

from __future__ import annotations

import json
import os
from typing import Any, Protocol

from ksmlab.vm.guest_shell import find_port

#: The port for test reports, and the port for `ksmlab vm attach`.
REPORTS = "reports"
SHELL = "shell"

Frame = dict[str, Any]


class Stream(Protocol):
    """What Line calls of a binary file that is open for reading and writing."""

    def write(self, data: bytes, /) -> object:
        """Write all of the data."""

    def flush(self) -> object:
        """Send what was written and is still buffered."""

    def readline(self) -> bytes:
        """Return the next line; without a newline if the other end has disconnected."""

    def close(self) -> object:
        """Close the file."""


class Line:
    """One end of the connection.

    Args:
        stream: A binary stream for reading and writing.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    @classmethod
    def open_port(cls, name: str) -> Line:
        """Open a port by name, in the guest.

        Raises:
            FileNotFoundError: The VM has no such port.
        """
        # Programs that a test starts must not inherit the port.
        descriptor = os.open(find_port(name), os.O_RDWR | os.O_CLOEXEC)
        return cls(_Duplex(descriptor))

    def send(self, frame: Frame) -> None:
        """Send a frame. Values that JSON does not support, such as properties of a test, are converted to strings.

        Raises:
            OSError: The other end has disconnected.
            TypeError: JSON does not support the type of a key.
        """
        self._stream.write(json.dumps(frame, default=str).encode() + b"\n")
        self._stream.flush()

    def receive(self) -> Frame | None:
        """Wait for a frame, and return it; return None if the other end has disconnected."""
        raw = self._stream.readline()
        # A line without a newline is incomplete.
        if not raw.endswith(b"\n"):
            return None
        frame: Frame = json.loads(raw)
        return frame

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


class _Duplex:
    """A buffered reader and unbuffered writer of one file descriptor; io.BufferedRWPair would need two."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._reader = os.fdopen(descriptor, "rb", closefd=False)

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]

    def flush(self) -> None:
        """Do nothing, since writes are not buffered."""

    def readline(self) -> bytes:
        return self._reader.readline()

    def close(self) -> None:
        self._reader.close()
        os.close(self._descriptor)
