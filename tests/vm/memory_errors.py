"""Simulated memory errors. Source: madvise(2), MADV_HWPOISON."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from ksmlab.libc import PAGE_SIZE

MADV_HWPOISON = 100

_libc = ctypes.CDLL(None, use_errno=True)


def kernel_handles_errors() -> bool:
    """Return whether the kernel handles memory errors (CONFIG_MEMORY_FAILURE)."""
    return "HardwareCorrupted:" in Path("/proc/meminfo").read_text()


def break_page(address: int) -> None:
    """Simulate a memory error in the page at an address.

    The kernel returns EBUSY for a page from which it cannot recover, but marks the page with PG_hwpoison anyway.
    """
    size = ctypes.c_size_t(PAGE_SIZE)
    if _libc.madvise(ctypes.c_void_p(address), size, MADV_HWPOISON):
        number = ctypes.get_errno()
        assert number == errno.EBUSY, os.strerror(number)
