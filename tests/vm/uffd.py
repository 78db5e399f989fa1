"""userfaultfd for tests, over ctypes. Source: userfaultfd(2), linux/userfaultfd.h."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.memory import Arena

_libc = ctypes.CDLL(None, use_errno=True)
_SYS_USERFAULTFD = 323
_API, _REGISTER, _WRITEPROTECT, _MOVE = 0xC018AA3F, 0xC020AA00, 0xC018AA06, 0xC028AA05
_UFFD_API = 0xAA
MODE_MISSING, MODE_WP = 1, 2
FEATURE_WP, FEATURE_MOVE = 1 << 0, 1 << 16


class UserFaultFd:
    """A userfaultfd of this process. Each method raises OSError with the errno of the ioctl."""

    def __init__(self, features: int = 0) -> None:
        """Open the descriptor and request features (FEATURE_* bits)."""
        self._fd = int(_libc.syscall(_SYS_USERFAULTFD, os.O_CLOEXEC))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "userfaultfd()")
        try:
            self._ioctl(_API, _UFFD_API, features, 0)
        except OSError:
            self.close()
            raise

    def _ioctl(self, number: int, *words: int) -> list[int]:
        argument = (ctypes.c_uint64 * len(words))(*words)
        if _libc.ioctl(self._fd, ctypes.c_ulong(number), argument):
            code = ctypes.get_errno()
            raise OSError(code, f"ioctl {number:#x} of userfaultfd: {os.strerror(code)}")
        return [*argument]

    def register(self, arena: Arena, mode: int, npages: int | None = None) -> None:
        """Intercept faults in the first pages of an arena; all pages by default."""
        length = arena.size if npages is None else npages * PAGE_SIZE
        self._ioctl(_REGISTER, arena.address, length, mode, 0)

    def write_protect(self, arena: Arena, npages: int) -> None:
        """Write-protect the first pages of an arena, which must be registered with MODE_WP."""
        self._ioctl(_WRITEPROTECT, arena.address, npages * PAGE_SIZE, 1)

    def move(self, target: int, source: int) -> None:
        """Move one page to an address that is registered with MODE_MISSING and has no page (UFFDIO_MOVE)."""
        self._ioctl(_MOVE, target, source, PAGE_SIZE, 0, 0)

    def close(self) -> None:
        """Close the descriptor, which ends all registrations; a second call does nothing."""
        with suppress(OSError):
            os.close(self._fd)
        self._fd = -1


@contextmanager
def userfaultfd(features: int = 0) -> Iterator[UserFaultFd]:
    """Open a userfaultfd, and close it at the end of the with statement."""
    uffd = UserFaultFd(features)
    try:
        yield uffd
    finally:
        uffd.close()


@contextmanager
def write_protected(arena: Arena, npages: int) -> Iterator[UserFaultFd]:
    """Write-protect the first pages of an arena until the userfaultfd is closed."""
    with userfaultfd(FEATURE_WP) as uffd:
        uffd.register(arena, MODE_WP, npages)
        uffd.write_protect(arena, npages)
        yield uffd


def kernel_can_move() -> bool:
    """Return whether the kernel has UFFDIO_MOVE (since 6.8)."""
    try:
        UserFaultFd(FEATURE_MOVE).close()
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True
