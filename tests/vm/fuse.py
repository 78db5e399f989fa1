"""A FUSE file system of one file with one page, whose server passes the page to the kernel by splice().

Source: include/uapi/linux/fuse.h and fs/fuse/dev.c.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from ksmlab.closing import Closing
from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

LOOKUP, FORGET, GETATTR = 1, 2, 3
OPEN, READ, WRITE, RELEASE = 14, 15, 16, 18
INIT, BATCH_FORGET = 26, 42
ROOT, FILE = 1, 2
NAME = "page"
_REQUEST = struct.Struct("IIQQIIIHH")
_REPLY = struct.Struct("IiQ")
_MAJOR, _MINOR = 7, 31
_READ_AHEAD = _MOST_WRITTEN = 1 << 17
#: The attributes do not expire during a test, in seconds.
_VALID = 3600
_SPLICE_MOVE = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o666
    size = 0 if node == ROOT else PAGE_SIZE
    times = (0,) * 6
    return struct.pack("6Q10I", node, size, size // 512, *times, mode, 1, 0, 0, 0, PAGE_SIZE, 0)


class FuseFile(Closing):
    """A mounted file. Use it as a context manager.

    Args:
        fill: Called with the descriptor of a pipe when the kernel reads the page. It puts the page into the pipe.
    """

    def __init__(self, fill: Callable[[int], None]) -> None:
        """Mount the file system, and start the thread that serves it.

        Raises:
            OSError: The kernel has no FUSE.
        """
        self._fill = fill
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._directory = Path(mkdtemp())
        options = f"fd={self._device},rootmode=40755,user_id=0,group_id=0".encode()
        if _libc.mount(b"page", bytes(self._directory), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "cannot mount a FUSE file system")
        self.path = self._directory / NAME
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Unmount the file system; the thread ends."""
        _libc.umount2(bytes(self._directory), 0)
        self._thread.join()
        os.close(self._device)
        self._directory.rmdir()

    def _serve(self) -> None:
        # After the unmount, a read fails with ENODEV.
        with suppress(OSError):
            while request := os.read(self._device, 2 * _MOST_WRITTEN):
                _, opcode, unique, node, *_ = _REQUEST.unpack_from(request)
                self._answer(opcode, unique, node, request[_REQUEST.size :])

    def _answer(self, opcode: int, unique: int, node: int, body: bytes) -> None:
        if opcode in (FORGET, BATCH_FORGET):
            return
        if opcode == READ:
            self._answer_read(unique)
            return
        error = 0
        reply = b""
        if opcode == INIT:
            reply = struct.pack(
                "4I2H2I2HI28x", _MAJOR, _MINOR, _READ_AHEAD, 0, 16, 12, _MOST_WRITTEN, 1, 1, 0, 0
            )
        elif opcode == LOOKUP and body.rstrip(b"\0") == NAME.encode():
            reply = struct.pack("4Q2I", FILE, 0, _VALID, _VALID, 0, 0) + _attributes(FILE)
        elif opcode == GETATTR:
            reply = struct.pack("Q2I", _VALID, 0, 0) + _attributes(node)
        elif opcode == OPEN:
            reply = struct.pack("Q2I", 0, 0, 0)
        elif opcode == WRITE:
            (size,) = struct.unpack_from("16xI", body)
            reply = struct.pack("2I", size, 0)
        elif opcode != RELEASE:
            error = -(errno.ENOENT if opcode == LOOKUP else errno.ENOSYS)
        os.write(self._device, _REPLY.pack(_REPLY.size + len(reply), error, unique) + reply)

    def _answer_read(self, unique: int) -> None:
        """Pass the header and the page through a pipe, so that the kernel may take over the page."""
        out, into = os.pipe()
        try:
            length = _REPLY.size + PAGE_SIZE
            os.write(into, _REPLY.pack(length, 0, unique))
            self._fill(into)
            assert os.splice(out, self._device, length, flags=_SPLICE_MOVE) == length
        finally:
            os.close(out)
            os.close(into)
