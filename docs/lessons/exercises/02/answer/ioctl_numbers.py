"""Ioctl numbers and the structure of REGISTER, by hand."""

import struct

NONE, WRITE, READ = 0, 1, 2


def number(direction: int, magic: int, nr: int, size: int) -> int:
    """Put the number of an ioctl together."""
    return direction << 30 | size << 16 | magic << 8 | nr


def parts(request: int) -> tuple[int, int, int, int]:
    """Take the number of an ioctl apart: direction, magic, nr, size."""
    return request >> 30, request >> 8 & 0xFF, request & 0xFF, request >> 16 & 0x3FFF


def region(npages: int, addr: int) -> bytes:
    """Make a struct ksm_memory_region."""
    return struct.pack("=IIQQ", npages, 0, addr, 0)
