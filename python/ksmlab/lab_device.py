"""Call single functions of the driver through ``/dev/ksm_lab``, for lessons and tests.

Source: kernel/lab/lab.h.
"""

from __future__ import annotations

import ctypes
import fcntl
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from ksmlab.abi import KSMIO, io, iowr
from ksmlab.device import Descriptor, open_device

DEVICE = Path("/dev/ksm_lab")


class Op(IntEnum):
    """The function to call: enum ksm_lab_op."""

    GET_PTE = 1
    WRPROTECT = 2
    REPLACE = 3
    SET_PTE = 4


class _Call(ctypes.Structure):
    """struct ksm_lab_call."""

    _fields_ = (
        ("op", ctypes.c_uint32),
        ("result", ctypes.c_int32),
        ("addr", ctypes.c_uint64),
        ("before", ctypes.c_uint64),
        ("after", ctypes.c_uint64),
        ("refs", ctypes.c_int32),
        ("mapcount", ctypes.c_int32),
    )


class _Hash(ctypes.Structure):
    """struct ksm_lab_hash."""

    _fields_ = (
        ("addr", ctypes.c_uint64),
        ("npages", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("ns", ctypes.c_uint64),
        ("sum", ctypes.c_uint64),
    )


KSM_LAB_CALL = iowr(KSMIO, 0x80, _Call)
KSM_LAB_HASH = iowr(KSMIO, 0x81, _Hash)
KSM_LAB_HOLD_MMAP_LOCK = io(KSMIO, 0x82)


@dataclass(frozen=True)
class Call:
    """The result of a call.

    Attributes:
        result: The return value of the function: 0, or a negative errno.
        before: The page-table entry before the call, in the format of the hardware.
        after: The page-table entry after the call.
        refs: The reference count of the page before the call.
        mapcount: The map count of the page before the call.
    """

    result: int
    before: int
    after: int
    refs: int
    mapcount: int


@dataclass(frozen=True)
class Hashed:
    """The result of hashing pages.

    Attributes:
        ns: The time in nanoseconds, without the time to find the pages.
        sum: The xxh64 hash of the content.
    """

    ns: int
    sum: int


class PteLab(Descriptor):
    """The open device ``/dev/ksm_lab``."""

    def __init__(self, path: Path = DEVICE) -> None:
        """Open the device.

        Args:
            path: The path of the device.

        Raises:
            DeviceError: The device does not exist, or this user may not open it.
        """
        super().__init__(open_device(path))

    def call(self, op: int, addr: int) -> Call:
        """Call a function of the driver for a page of this process.

        Args:
            op: The function, an Op.
            addr: An address in the page.

        Raises:
            OSError: ENXIO if there is no small anonymous page at the address, EBUSY if the page is locked, EINVAL if
                the function is unknown. Nothing was changed.
        """
        call = _Call(op=op, addr=addr)
        fcntl.ioctl(self.fileno(), KSM_LAB_CALL, call)
        return Call(call.result, call.before, call.after, call.refs, call.mapcount)

    def hash(self, addr: int, npages: int) -> Hashed:
        """Hash pages of this process in the kernel with xxh64, one page after the other.

        Args:
            addr: The page-aligned address of the first page.
            npages: The number of pages. Pages that are not present are faulted in.

        Raises:
            OSError: EINVAL if the address is not aligned, EFAULT if a page cannot be read.
        """
        call = _Hash(addr=addr, npages=npages)
        fcntl.ioctl(self.fileno(), KSM_LAB_HASH, call)
        return Hashed(call.ns, call.sum)

    def hold_mmap_lock(self, milliseconds: int = 0) -> None:
        """Hold the mmap lock of this process for writing.

        Args:
            milliseconds: The time in milliseconds; with 0, until a signal arrives.

        Raises:
            OSError: EINTR if a signal arrived before the end of the time.
        """
        fcntl.ioctl(self.fileno(), KSM_LAB_HOLD_MMAP_LOCK, milliseconds)
