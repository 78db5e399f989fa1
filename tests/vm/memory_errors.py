"""Simulated memory errors. Source: madvise(2), MADV_HWPOISON."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

MADV_HWPOISON = 100

_libc = ctypes.CDLL(None, use_errno=True)


def kernel_handles_errors() -> bool:
    """Return whether the kernel handles memory errors (CONFIG_MEMORY_FAILURE)."""
    return "HardwareCorrupted:" in Path("/proc/meminfo").read_text()


@contextmanager
def _sigbus_handled() -> Iterator[None]:
    """Have SIGBUS do nothing in the block, which must not read a broken page: the access would repeat forever."""
    before = signal.signal(signal.SIGBUS, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGBUS, before)


def break_page(address: int) -> None:
    """Simulate a memory error in the page at an address, and survive it.

    The kernel returns EBUSY for a page from which it cannot recover, but marks the page with PG_hwpoison anyway. Where
    the page is anonymous, 6.12 sends SIGBUS to the caller, unlike 6.1.
    """
    size = ctypes.c_size_t(PAGE_SIZE)
    with _sigbus_handled():
        if _libc.madvise(ctypes.c_void_p(address), size, MADV_HWPOISON):
            number = ctypes.get_errno()
            assert number == errno.EBUSY, os.strerror(number)
