"""Read the frame numbers, map counts and flags of pages from /proc.

The kernel shows frame numbers only to processes with CAP_SYS_ADMIN. It shows zeros to other processes, for which the
functions of this module raise an error. Source: Documentation/admin-guide/mm/pagemap.rst, fs/proc/task_mmu.c,
fs/proc/page.c.
"""

from __future__ import annotations

import errno
import os
from array import array
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

_ENTRY = 8
_PFN_MASK = (1 << 55) - 1
_SOFT_DIRTY = 1 << 55
_EXCLUSIVE = 1 << 56
_UFFD_WP = 1 << 57
_FILE = 1 << 61
_SWAPPED = 1 << 62
_PRESENT = 1 << 63

KPAGECOUNT = Path("/proc/kpagecount")
KPAGEFLAGS = Path("/proc/kpageflags")


class PageFlag(IntFlag):
    """Bits of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h)."""

    LOCKED = 1 << 0
    ERROR = 1 << 1
    REFERENCED = 1 << 2
    UPTODATE = 1 << 3
    DIRTY = 1 << 4
    LRU = 1 << 5
    ACTIVE = 1 << 6
    SLAB = 1 << 7
    WRITEBACK = 1 << 8
    RECLAIM = 1 << 9
    BUDDY = 1 << 10
    MMAP = 1 << 11
    ANON = 1 << 12
    SWAPCACHE = 1 << 13
    SWAPBACKED = 1 << 14
    COMPOUND_HEAD = 1 << 15
    COMPOUND_TAIL = 1 << 16
    HUGE = 1 << 17
    UNEVICTABLE = 1 << 18
    HWPOISON = 1 << 19
    NOPAGE = 1 << 20
    KSM = 1 << 21
    THP = 1 << 22
    OFFLINE = 1 << 23
    ZERO_PAGE = 1 << 24
    IDLE = 1 << 25
    PGTABLE = 1 << 26


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of /proc/PID/pagemap.

    Attributes:
        raw: The 64-bit value.
    """

    raw: int

    @property
    def present(self) -> bool:
        """Whether the page is present in memory."""
        return bool(self.raw & _PRESENT)

    @property
    def swapped(self) -> bool:
        """Whether the page is in swap, or its entry is another kind of non-present entry."""
        return bool(self.raw & _SWAPPED)

    @property
    def file(self) -> bool:
        """Whether the page is a file page or shared, rather than anonymous. This is true for kernel pages, too."""
        return bool(self.raw & _FILE)

    @property
    def exclusive(self) -> bool:
        """Whether this is the only mapping of the page."""
        return bool(self.raw & _EXCLUSIVE)

    @property
    def soft_dirty(self) -> bool:
        """Whether the page was written to since the soft-dirty bit was cleared."""
        return bool(self.raw & _SOFT_DIRTY)

    @property
    def uffd_wp(self) -> bool:
        """Whether the page is write-protected by userfaultfd."""
        return bool(self.raw & _UFFD_WP)

    @property
    def pfn(self) -> int:
        """The frame number; 0 if the page is not present, or if the reader is not privileged."""
        return self.raw & _PFN_MASK if self.present else 0

    def __str__(self) -> str:
        """Return the frame number and the names of the bits that are set."""
        names = ("present", "swapped", "file", "exclusive", "soft_dirty", "uffd_wp")
        bits = " ".join(name for name in names if getattr(self, name))
        return f"pfn={self.pfn:#x} {bits or 'empty'}"


def read(pid: int | None, addr: int, npages: int) -> array[int]:
    """Read the raw entries of a range of pages.

    Args:
        pid: The PID of the process; None for this process.
        addr: The page-aligned address of the first page.
        npages: The number of pages.

    Raises:
        OSError: There is no such process, or the range exceeds its address space.
    """
    who = "self" if pid is None else str(pid)
    fd = os.open(f"/proc/{who}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read_words(fd, addr // PAGE_SIZE, npages, f"pagemap of {who} at {addr:#x}")
    finally:
        os.close(fd)


def _read_words(fd: int, first: int, count: int, what: str) -> array[int]:
    """Read ``count`` 64-bit words, beginning with word ``first``. The kernel may return them in several parts."""
    words = array("Q")
    while len(words) < count:
        data = os.pread(fd, (count - len(words)) * _ENTRY, (first + len(words)) * _ENTRY)
        if not data:
            raise OSError(
                errno.ERANGE,
                f"{what} ends after {len(words)} of {count} entries. Next: check the address and the length",
            )
        words.frombytes(data)
    return words


def entries(pid: int | None, addr: int, npages: int) -> list[Entry]:
    """Return the entries of a range of pages. The arguments are those of read()."""
    return [Entry(raw) for raw in read(pid, addr, npages)]


def entry(addr: int, pid: int | None = None) -> Entry:
    """Return the entry of the page that contains an address.

    Args:
        addr: An address in the page.
        pid: The PID of the process; None for this process.

    Raises:
        OSError: There is no such process, or the address is outside of its address space.
    """
    return Entry(read(pid, addr - addr % PAGE_SIZE, 1)[0])


def frames(pid: int | None, addr: int, npages: int) -> list[int]:
    """Return the frame number of each page, with 0 for pages that are not present.

    Args:
        pid: The PID of the process; None for this process.
        addr: The page-aligned address of the first page.
        npages: The number of pages.

    Raises:
        OSError: There is no such process, or the range exceeds its address space.
        PermissionError: The kernel hides frame numbers from this process.
    """
    raw = read(pid, addr, npages)
    result = [word & _PFN_MASK if word & _PRESENT else 0 for word in raw]
    if not any(result) and any(word & _PRESENT for word in raw):
        raise PermissionError(
            errno.EPERM,
            "the kernel hides frame numbers from this process. Nothing was changed. "
            "Next: run as root (CAP_SYS_ADMIN)",
        )
    return result


def distinct(pfns: Iterable[int]) -> int:
    """Return the number of different frames. A 0, which stands for an absent page, does not count."""
    return len(set(pfns) - {0})


def _lookup(path: Path, pfns: Iterable[int]) -> dict[int, int]:
    """Read the words of some frames. The words of adjacent frames are read together."""
    result: dict[int, int] = {}
    wanted = sorted(set(pfns) - {0})
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        start = 0
        while start < len(wanted):
            end = start + 1
            while end < len(wanted) and wanted[end] == wanted[end - 1] + 1:
                end += 1
            words = _read_words(fd, wanted[start], end - start, str(path))
            result.update(zip(wanted[start:end], words, strict=True))
            start = end
    finally:
        os.close(fd)
    return result


def map_counts(pfns: Iterable[int]) -> dict[int, int]:
    """Return the map count of each frame (/proc/kpagecount)."""
    return _lookup(KPAGECOUNT, pfns)


def page_flags(pfns: Iterable[int]) -> dict[int, PageFlag]:
    """Return the flags of each frame (/proc/kpageflags), without bits that PageFlag does not define."""
    known = (PageFlag.PGTABLE << 1) - 1
    return {pfn: PageFlag(word & known) for pfn, word in _lookup(KPAGEFLAGS, pfns).items()}
