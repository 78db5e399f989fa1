"""``/dev/ksm`` and its areas, over :func:`fcntl.ioctl`.

>>> with KsmDevice() as device, device.create_area() as area:   # doctest: +SKIP
...     area.register(arena)
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

from ksmlab import abi
from ksmlab.closing import Closing

if TYPE_CHECKING:
    import ctypes

DEVICE = Path("/dev/ksm")


class PageRange(Protocol):
    """Anything that is a range of pages of this process, such as a memory.Arena."""

    @property
    def address(self) -> int:
        """The first byte, page-aligned."""

    @property
    def npages(self) -> int:
        """The length in pages."""


class KsmError(OSError):
    """A call to the driver failed; the text says what is untouched and what to do next."""


class DeviceError(KsmError):
    """``/dev/ksm`` cannot be opened, or does not make an area."""


class RegisterError(KsmError):
    """A region was refused; the area is as it was before."""


class RemoveError(KsmError):
    """Regions could not be removed; what is left is still registered and counted."""


@dataclass(frozen=True)
class _Advice:
    """What an errno means here, and what to do about it."""

    happened: str
    next: str


_OPEN = {
    errno.ENOENT: _Advice("there is no such device", "load the module: insmod ksm.ko"),
    errno.ENXIO: _Advice("no driver is behind the device", "load the module: insmod ksm.ko"),
    errno.EACCES: _Advice("the device is for root (mode 0600)", "run as root, or chown the device"),
    errno.EPERM: _Advice("the device is for root (mode 0600)", "run as root, or chown the device"),
}
_CREATE = {
    errno.EMFILE: _Advice("this process has no free descriptor", "close some, or raise ulimit -n"),
    errno.ENFILE: _Advice("the system has no free file", "close files, or raise fs.file-max"),
    errno.ENOMEM: _Advice("the kernel has no memory for an area", "free memory and try again"),
}
_REGISTER = {
    errno.EINVAL: _Advice(
        "the length is 0, or the address is not page-aligned",
        "give at least one page, and an address that is a multiple of the page size",
    ),
    errno.ERANGE: _Advice(
        "the range wraps around, or leaves the address space of the task",
        "give a range below the end of user addresses",
    ),
    errno.EEXIST: _Advice(
        "the range overlaps a region that this address space has registered",
        "leave out the pages that are registered, or remove the other region first",
    ),
    errno.ENOSPC: _Advice(
        f"the area holds {abi.MAX_REGIONS_PER_AREA} regions, which is its limit",
        "create another area, or register larger regions",
    ),
    errno.EFAULT: _Advice("the kernel cannot read the argument", "pass the address of a structure"),
    errno.ENOMEM: _Advice("the kernel has no memory for the region", "free memory and try again"),
    errno.ENOTTY: _Advice("the file is no KSM area", "use the descriptor that create_area() made"),
}
_REMOVE = {
    errno.ENOMEM: _Advice(
        "the kernel has no memory to give every merged page its own copy",
        "free memory and call remove() again",
    ),
    errno.EINTR: _Advice("a signal interrupted the removal", "call remove() again"),
    errno.EFAULT: _Advice(
        "a page cannot be copied: its memory is broken, or userfaultfd protects it",
        "end the protection and call remove() again, or close the area",
    ),
    errno.ENOTTY: _Advice("the file is no KSM area", "use the descriptor that create_area() made"),
}


def _explain(
    kind: type[KsmError], error: OSError, what: str, untouched: str, table: dict[int, _Advice]
) -> KsmError:
    """Turn an OSError into one that a person can act on; the errno stays."""
    number = error.errno or 0
    advice = table.get(number, _Advice(os.strerror(number), "look at the kernel log: dmesg"))
    return kind(number, f"{what}: {advice.happened}. {untouched} Next: {advice.next}.")


class Descriptor(Closing):
    """A file descriptor that closes itself."""

    def __init__(self, fd: int) -> None:
        """Take a descriptor over."""
        self._fd = fd

    def fileno(self) -> int:
        """Return the descriptor, as select() and ioctl() want it.

        Raises:
            ValueError: it is closed.
        """
        if self._fd < 0:
            raise ValueError("the descriptor is closed; open a new one")
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._fd < 0

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_device(path: Path) -> int:
    """Open a device of the driver, and return the descriptor.

    Raises:
        DeviceError: it is missing, or not for this user.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise _explain(
            DeviceError, error, f"cannot open {path}", "Nothing is changed.", _OPEN
        ) from error


class KsmDevice(Descriptor):
    """``/dev/ksm``, open.

    Source: kernel/dev.c.
    """

    def __init__(self, path: Path = DEVICE) -> None:
        """Open the device.

        Args:
            path: where it is.

        Raises:
            DeviceError: it is missing, or not for this user.
        """
        super().__init__(open_device(path))

    def api_version(self) -> int:
        """Return what GET_API_VERSION says; 1 is the only version there is."""
        return fcntl.ioctl(self.fileno(), abi.KSM_GET_API_VERSION)

    def create_area(self) -> Area:
        """Make an area with no regions in it.

        Raises:
            DeviceError: no descriptor or no memory is left.
        """
        try:
            return Area(fcntl.ioctl(self.fileno(), abi.KSM_CREATE_SHARED_MEMORY_AREA))
        except OSError as error:
            raise _explain(
                DeviceError, error, "cannot create an area", "No area is made.", _CREATE
            ) from error


class Area(Descriptor):
    """An area: a descriptor that regions of memory are registered on.

    Closing its last copy removes its regions and gives their pages back.
    Source: kernel/dev.c and kernel/area.c.
    """

    @overload
    def register(self, where: PageRange) -> None: ...

    @overload
    def register(self, where: int, npages: int) -> None: ...

    def register(self, where: PageRange | int, npages: int | None = None) -> None:
        """Offer a range of this process's memory to the scan.

        Args:
            where: an arena, or the address of the first byte.
            npages: the length in pages, with an address.

        Raises:
            RegisterError: the range was refused; its errno says why.
        """
        if isinstance(where, int):
            if npages is None:
                raise TypeError("an address needs a number of pages")
            addr, count = where, npages
        else:
            addr, count = where.address, where.npages
        region = abi.MemoryRegion(npages=count, addr=addr)
        self._register(abi.KSM_REGISTER_MEMORY_REGION, region, addr, count)

    def register_v16(self, addr: int, npages: int) -> None:
        """Offer a range with the 16-byte structure; otherwise as register()."""
        region = abi.MemoryRegionV16(npages=npages, addr=addr)
        self._register(abi.KSM_REGISTER_MEMORY_REGION_V16, region, addr, npages)

    def _register(self, request: int, region: ctypes.Structure, addr: int, npages: int) -> None:
        try:
            fcntl.ioctl(self.fileno(), request, bytes(region))
        except OSError as error:
            raise _explain(
                RegisterError,
                error,
                f"cannot register {npages} pages at {addr:#x}",
                "The area is as it was.",
                _REGISTER,
            ) from error

    def remove(self) -> None:
        """Take every region of the area back; each merged page gets its own copy.

        Raises:
            RemoveError: no memory, or a signal; what is left stays registered, and the call
                may be made again.
        """
        try:
            fcntl.ioctl(self.fileno(), abi.KSM_REMOVE_MEMORY_REGION)
        except OSError as error:
            raise _explain(
                RemoveError,
                error,
                "cannot remove the regions",
                "The regions that are not finished stay registered, and their content is intact.",
                _REMOVE,
            ) from error
