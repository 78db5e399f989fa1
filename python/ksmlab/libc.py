"""Memory functions of the C library that Python lacks, called with ctypes.

All of them raise OSError with the errno of the call. Source: mmap(2), madvise(2), mprotect(2), mremap(2), mlock(2),
memcmp(3).
"""

from __future__ import annotations

import ctypes
import mmap
import os

PAGE_SIZE = mmap.PAGESIZE

PROT_NONE = 0
PROT_READ = mmap.PROT_READ
PROT_WRITE = mmap.PROT_WRITE
MAP_NORESERVE = 0x4000
MAP_FIXED_NOREPLACE = 0x100000
MREMAP_MAYMOVE = 1
MREMAP_FIXED = 2
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_size = ctypes.c_size_t
_pointer = ctypes.c_void_p
_int = ctypes.c_int

_libc.mmap.argtypes = [_pointer, _size, _int, _int, _int, ctypes.c_long]
_libc.mmap.restype = _pointer
_libc.mremap.argtypes = [_pointer, _size, _size, _int, _pointer]
_libc.mremap.restype = _pointer
_libc.munmap.argtypes = [_pointer, _size]
_libc.mprotect.argtypes = [_pointer, _size, _int]
_libc.madvise.argtypes = [_pointer, _size, _int]
_libc.mlock.argtypes = [_pointer, _size]
_libc.munlock.argtypes = [_pointer, _size]
_libc.memcmp.argtypes = [_pointer, _pointer, _size]


def _fail(call: str, address: int, length: int) -> OSError:
    number = ctypes.get_errno()
    return OSError(
        number,
        f"{call} of {length} bytes at {address:#x} failed: {os.strerror(number)}. "
        "The mapping was not changed",
    )


def _check(result: int, call: str, address: int, length: int) -> None:
    if result != 0:
        raise _fail(call, address, length)


def map_anonymous(
    length: int,
    prot: int = PROT_READ | PROT_WRITE,
    shared: bool = False,
    noreserve: bool = False,
    at: int | None = None,
) -> int:
    """Map anonymous memory and return its address.

    Args:
        length: The length in bytes.
        prot: The protection, as PROT_* bits.
        shared: Whether to use MAP_SHARED instead of MAP_PRIVATE.
        noreserve: Whether to exclude the memory from the overcommit limit.
        at: The address, at which nothing may be mapped; None to let the kernel choose one.
    """
    flags = mmap.MAP_ANONYMOUS | (mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE)
    if noreserve:
        flags |= MAP_NORESERVE
    if at is not None:
        flags |= MAP_FIXED_NOREPLACE
    address = _libc.mmap(at, length, prot, flags, -1, 0)
    if address is None or address == _MAP_FAILED:
        raise _fail("mmap", 0, length)
    return int(address)


def unmap(address: int, length: int) -> None:
    """Unmap ``length`` bytes."""
    _check(_libc.munmap(address, length), "munmap", address, length)


def protect(address: int, length: int, prot: int) -> None:
    """Set the protection of ``length`` bytes to PROT_* bits."""
    _check(_libc.mprotect(address, length, prot), "mprotect", address, length)


def advise(address: int, length: int, advice: int) -> None:
    """Call madvise() for ``length`` bytes."""
    _check(_libc.madvise(address, length, advice), "madvise", address, length)


def lock(address: int, length: int) -> None:
    """Lock ``length`` bytes in memory."""
    _check(_libc.mlock(address, length), "mlock", address, length)


def unlock(address: int, length: int) -> None:
    """Unlock ``length`` bytes."""
    _check(_libc.munlock(address, length), "munlock", address, length)


def move(address: int, length: int, target: int) -> None:
    """Move a mapping to ``target``, and replace the mappings there."""
    flags = MREMAP_MAYMOVE | MREMAP_FIXED
    moved = _libc.mremap(address, length, length, flags, target)
    if moved is None or moved == _MAP_FAILED:
        raise _fail("mremap", address, length)


def same(address: int, other: int, length: int) -> bool:
    """Return whether ``length`` bytes at two addresses are equal."""
    return bool(_libc.memcmp(address, other, length) == 0)
