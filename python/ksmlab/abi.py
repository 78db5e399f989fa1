"""The structures and ioctl numbers of ``/dev/ksm``.

Names, layout and numbers are the same as in ``kernel/include/uapi/linux/ksm.h``. ``tests/unit/test_abi.py`` compiles
that header and compares all of them.
"""

from __future__ import annotations

import ctypes

# The fields of an ioctl number: include/uapi/asm-generic/ioctl.h.
_NR_SHIFT = 0
_TYPE_SHIFT = 8
_SIZE_SHIFT = 16
_DIR_SHIFT = 30
_SIZE_LIMIT = 1 << 14

_DIR_NONE = 0
_DIR_WRITE = 1
_DIR_READ = 2


def _ioc(direction: int, magic: int, number: int, size: int) -> int:
    """Return an ioctl number, computed like the macro ``_IOC``."""
    if not 0 <= size < _SIZE_LIMIT:
        raise ValueError(f"an ioctl argument of {size} bytes does not fit in 14 bits")
    return (
        direction << _DIR_SHIFT | size << _SIZE_SHIFT | magic << _TYPE_SHIFT | number << _NR_SHIFT
    )


def io(magic: int, number: int) -> int:
    """Return the number of an ioctl without an argument.

    Args:
        magic: The magic number of the driver, 0 to 255.
        number: The number within the driver, 0 to 255.

    Source: ``_IO`` in include/uapi/asm-generic/ioctl.h.
    """
    return _ioc(_DIR_NONE, magic, number, 0)


def iow(magic: int, number: int, argument: type[ctypes.Structure]) -> int:
    """Return the number of an ioctl that passes a structure to the kernel.

    Args:
        magic: The magic number of the driver, 0 to 255.
        number: The number within the driver, 0 to 255.
        argument: The structure. Its size is part of the number.

    Source: ``_IOW`` in include/uapi/asm-generic/ioctl.h.
    """
    return _ioc(_DIR_WRITE, magic, number, ctypes.sizeof(argument))


def iowr(magic: int, number: int, argument: type[ctypes.Structure]) -> int:
    """Return the number of an ioctl that passes a structure to the kernel and back.

    Args:
        magic: The magic number of the driver, 0 to 255.
        number: The number within the driver, 0 to 255.
        argument: The structure. Its size is part of the number.

    Source: ``_IOWR`` in include/uapi/asm-generic/ioctl.h.
    """
    return _ioc(_DIR_READ | _DIR_WRITE, magic, number, ctypes.sizeof(argument))


class MemoryRegion(ctypes.Structure):
    """``struct ksm_memory_region``, 24 bytes: the argument of ``KSM_REGISTER_MEMORY_REGION``.

    ``npages`` is the number of pages, and ``addr`` a page-aligned address in the calling process. The driver ignores
    ``pad`` and ``reserved_bits``.
    """

    _fields_ = [
        ("npages", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("addr", ctypes.c_uint64),
        ("reserved_bits", ctypes.c_uint64),
    ]


class MemoryRegionV16(ctypes.Structure):
    """``struct ksm_memory_region_v16``: the 16-byte version without ``reserved_bits``."""

    _fields_ = [
        ("npages", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("addr", ctypes.c_uint64),
    ]


KSMIO = 0xAB
KSM_API_VERSION = 1

#: Ioctls of ``/dev/ksm``.
KSM_GET_API_VERSION = io(KSMIO, 0x00)
KSM_CREATE_SHARED_MEMORY_AREA = io(KSMIO, 0x01)

#: Ioctls of an area.
KSM_REGISTER_MEMORY_REGION = iow(KSMIO, 0x20, MemoryRegion)
KSM_REGISTER_MEMORY_REGION_V16 = iow(KSMIO, 0x20, MemoryRegionV16)
KSM_REMOVE_MEMORY_REGION = io(KSMIO, 0x21)

#: The maximum number of regions in an area. Registering more fails with ENOSPC.
MAX_REGIONS_PER_AREA = 1024
