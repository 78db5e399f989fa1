"""A block device whose reads end only when the program says so, for tests and lessons.

The kernel's NBD driver sends each request to this process over a socket pair. Until the process answers, the read is in
progress, and the pages that it reads to are pinned.
Source: the protocol in drivers/block/nbd.c and include/uapi/linux/nbd.h.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from ksmlab.closing import Closing

_SET_SOCK, _SET_BLKSIZE, _DO_IT, _CLEAR_SOCK = 0xAB00, 0xAB01, 0xAB03, 0xAB04
_SET_SIZE_BLOCKS, _DISCONNECT = 0xAB07, 0xAB08
_REQUEST = struct.Struct(">IIQQI")
_REPLY = struct.Struct(">IIQ")
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_READ, _WRITE = 0, 1
BLOCK = 4096


class SlowDisk(Closing):
    """The device /dev/nbd0. Its reads wait for answer(); writes are not supported.

    Args:
        blocks: The size of the device, in blocks of 4096 bytes.
    """

    def __init__(self, blocks: int) -> None:
        """Set up the device."""
        subprocess.run(["modprobe", "nbd", "nbds_max=1", "max_part=0"], check=True)
        self.path = Path("/dev/nbd0")
        self._server, kernel = socket.socketpair()
        self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(self._fd, _SET_BLKSIZE, BLOCK)
        fcntl.ioctl(self._fd, _SET_SIZE_BLOCKS, blocks)
        fcntl.ioctl(self._fd, _SET_SOCK, kernel.fileno())
        self._kernel = kernel
        self._worker = threading.Thread(target=self._serve, daemon=True)
        self._worker.start()
        self._wait_connected(30)

    def _wait_connected(self, deadline: float) -> None:
        """Wait until the device has a size. Before that, a read returns no data immediately."""
        size = Path("/sys/block", self.path.name, "size")
        end = time.monotonic() + deadline
        while size.read_text() == "0\n":
            if time.monotonic() > end:
                raise TimeoutError(f"{self.path} still has the size 0 after {deadline} s")
            time.sleep(0.01)

    def _serve(self) -> None:
        # The ioctl fails when the device is disconnected.
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._fd, _DO_IT)

    def wait_read(self, deadline: float) -> tuple[int, int]:
        """Wait until a read is in progress.

        Args:
            deadline: The time limit in seconds.

        Returns:
            The handle of the read, for answer(), and the number of bytes that it requests.
        """
        self._server.settimeout(deadline)
        request = self._server.recv(_REQUEST.size, socket.MSG_WAITALL)
        magic, kind, handle, _, length = _REQUEST.unpack(request)
        assert magic == _REQUEST_MAGIC
        assert kind & 0xFFFF == _READ
        return handle, length

    def answer(self, handle: int, data: bytes) -> None:
        """End a read.

        Args:
            handle: The handle of the read.
            data: The data to return.
        """
        self._server.sendall(_REPLY.pack(_REPLY_MAGIC, 0, handle) + data)

    def close(self) -> None:
        """Disconnect the device."""
        fcntl.ioctl(self._fd, _DISCONNECT)
        self._server.close()
        self._worker.join(30)
        fcntl.ioctl(self._fd, _CLEAR_SOCK)
        self._kernel.close()
        os.close(self._fd)
