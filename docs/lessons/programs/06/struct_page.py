"""Read the struct page of a frame from /proc/kcore, the memory of the kernel as an ELF file. Only root may read it.

The layout is that of x86-64: include/linux/mm_types.h.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

LAYOUT = struct.Struct("<QQQQQQiiQ")
ANON = 1  # PAGE_MAPPING_ANON: bit 0 of page->mapping


@dataclass(frozen=True)
class Page:
    """Some fields of a struct page."""

    mapping: int
    index: int
    private: int
    mapcount: int
    refcount: int

    @property
    def anonymous(self) -> bool:
        """Tell whether `mapping` points to an anon_vma, as PageAnon() does."""
        return bool(self.mapping & ANON)


def symbol(name: str) -> int:
    """Return the address of a symbol of the kernel."""
    with open("/proc/kallsyms") as lines:
        for line in lines:
            address, _, found, *_ = line.split()
            if found == name:
                return int(address, 16)
    raise LookupError(f"/proc/kallsyms has no {name}")


def kernel_memory(address: int, size: int) -> bytes:
    """Read memory of the kernel.

    Raises:
        LookupError: no segment of /proc/kcore contains the address.
    """
    with open("/proc/kcore", "rb") as core:
        header = core.read(64)
        (segments,) = struct.unpack_from("<Q", header, 32)
        (count,) = struct.unpack_from("<H", header, 56)
        core.seek(segments)
        for _ in range(count):
            _, _, at, start, _, length, *_ = struct.unpack("<IIQQQQQQ", core.read(56))
            if start <= address < start + length:
                return os.pread(core.fileno(), size, at + address - start)
    raise LookupError(f"/proc/kcore has no segment with {address:#x}")


def struct_page(frame: int) -> Page:
    """Return the struct page of a frame: entry number `frame` of the array vmemmap."""
    vmemmap = int.from_bytes(kernel_memory(symbol("vmemmap_base"), 8), "little")
    words = LAYOUT.unpack(kernel_memory(vmemmap + frame * LAYOUT.size, LAYOUT.size))
    _, _, _, mapping, index, private, mapcount, refcount, _ = words
    # The kernel stores the map count minus one.
    return Page(mapping, index, private, mapcount + 1, refcount)
