"""Ioctl numbers and the structure of REGISTER, by hand. Fill in the three functions."""

NONE, WRITE, READ = 0, 1, 2


def number(direction: int, magic: int, nr: int, size: int) -> int:
    """Put the number of an ioctl together."""
    raise NotImplementedError


def parts(request: int) -> tuple[int, int, int, int]:
    """Take the number of an ioctl apart: direction, magic, nr, size."""
    raise NotImplementedError


def region(npages: int, addr: int) -> bytes:
    """Make a struct ksm_memory_region."""
    raise NotImplementedError
