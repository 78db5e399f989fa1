"""What goes over the virtio-serial port between the two pytests: one JSON object a line."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ksmlab.vm.guest_shell import find_port

if TYPE_CHECKING:
    from typing import BinaryIO

#: The port that test reports come by, and the one that `ksmlab vm attach` talks to.
REPORTS = "reports"
SHELL = "shell"

Frame = dict[str, Any]


class Line:
    """One end of the line.

    Args:
        stream: A binary stream, unbuffered on its writing side.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Keep the stream."""
        self._stream = stream

    @classmethod
    def open_port(cls, name: str) -> Line:
        """Open a port by name, in the guest."""
        # A program that a test starts must not inherit it.
        descriptor = os.open(find_port(name), os.O_RDWR | os.O_CLOEXEC)
        return cls(_Duplex(descriptor))  # type: ignore[arg-type]

    def send(self, frame: Frame) -> None:
        """Send one frame; of a value that JSON does not know (a test's property, say) goes its text.

        Raises:
            OSError: The other end is gone.
            TypeError: A key in the frame is none that JSON knows.
        """
        self._stream.write(json.dumps(frame, default=str).encode() + b"\n")
        self._stream.flush()

    def receive(self) -> Frame | None:
        """Wait for a frame; None when the other end is gone."""
        raw = self._stream.readline()
        # What has no end was cut off.
        if not raw.endswith(b"\n"):
            return None
        frame: Frame = json.loads(raw)
        return frame

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


class _Duplex:
    """A device that is read by lines and written whole; io.BufferedRWPair wants two descriptors for that."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._reader = os.fdopen(descriptor, "rb", closefd=False)

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]

    def flush(self) -> None:
        """There is nothing held back."""

    def readline(self) -> bytes:
        return self._reader.readline()

    def close(self) -> None:
        self._reader.close()
        os.close(self._descriptor)
