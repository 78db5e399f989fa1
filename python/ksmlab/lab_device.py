"""``/dev/ksm_lab`` in Python: one PTE helper of the driver at a time, and a plain loop of hashing.

For lessons and tests. Source: kernel/lab/lab.h.
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
    """Which helper to call; enum ksm_lab_op."""

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
    """What a call of a helper did.

    Attributes:
        result: what the helper returned: 0, or a negative errno.
        before: the page-table entry before the call, as the hardware has it.
        after: the page-table entry after it.
        refs: references to the page before the call.
        mapcount: entries that mapped the page before the call.
    """

    result: int
    before: int
    after: int
    refs: int
    mapcount: int


@dataclass(frozen=True)
class Hashed:
    """What hashing pages in a plain loop came to.

    Attributes:
        ns: nanoseconds that it took, without the time to find the pages.
        sum: xxh64 of the content.
    """

    ns: int
    sum: int


class PteLab(Descriptor):
    """``/dev/ksm_lab``, open."""

    def __init__(self, path: Path = DEVICE) -> None:
        """Open the device.

        Args:
            path: where it is.

        Raises:
            DeviceError: it is missing, or not for this user.
        """
        super().__init__(open_device(path))

    def call(self, op: int, addr: int) -> Call:
        """Call one helper on the page at an address of this process.

        Args:
            op: an Op.
            addr: any address in the page.

        Raises:
            OSError: ENXIO when there is no small anonymous page, EBUSY when it is locked,
                EINVAL for an unknown op. Nothing has changed then.
        """
        call = _Call(op=op, addr=addr)
        fcntl.ioctl(self.fileno(), KSM_LAB_CALL, call)
        return Call(call.result, call.before, call.after, call.refs, call.mapcount)

    def hash(self, addr: int, npages: int) -> Hashed:
        """Have the kernel hash pages of this process with xxh64, one after the other.

        Args:
            addr: address of the first page, page-aligned.
            npages: pages; those that are not there yet are faulted in.

        Raises:
            OSError: EINVAL when the address is not aligned, EFAULT when a page cannot be read.
        """
        call = _Hash(addr=addr, npages=npages)
        fcntl.ioctl(self.fileno(), KSM_LAB_HASH, call)
        return Hashed(call.ns, call.sum)

    def hold_mmap_lock(self, milliseconds: int = 0) -> None:
        """Hold the mmap lock of this process for writing.

        Args:
            milliseconds: how long; with 0 a signal ends it.

        Raises:
            OSError: EINTR when a signal came before the time was over.
        """
        fcntl.ioctl(self.fileno(), KSM_LAB_HOLD_MMAP_LOCK, milliseconds)
