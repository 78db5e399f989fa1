"""Register memory of this process with ``/dev/ksm``.

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
    """A range of pages of this process, such as a `memory.Arena`."""

    @property
    def address(self) -> int:
        """The address of the first byte, which is page-aligned."""

    @property
    def npages(self) -> int:
        """The length in pages."""


class KsmError(OSError):
    """A call to the driver failed. The text says why, what was not changed, and what to do next."""


class DeviceError(KsmError):
    """``/dev/ksm`` cannot be opened, or cannot create an area."""


class RegisterError(KsmError):
    """The driver refused to register a region. The area is unchanged."""


class RemoveError(KsmError):
    """Some regions could not be removed. They are still registered, and their merged pages still counted."""


@dataclass(frozen=True)
class _Advice:
    """The meaning of an errno, and what to do about it."""

    happened: str
    next: str


_OPEN = {
    errno.ENOENT: _Advice("there is no such device", "load the module: insmod ksm.ko"),
    errno.ENXIO: _Advice("the driver is not loaded", "load the module: insmod ksm.ko"),
    errno.EACCES: _Advice(
        "only root may open the device (mode 0600)", "run as root, or chown the device"
    ),
    errno.EPERM: _Advice(
        "only root may open the device (mode 0600)", "run as root, or chown the device"
    ),
}
_CREATE = {
    errno.EMFILE: _Advice(
        "this process has reached its limit of open files", "close some, or raise ulimit -n"
    ),
    errno.ENFILE: _Advice(
        "the system has reached its limit of open files", "close files, or raise fs.file-max"
    ),
    errno.ENOMEM: _Advice("the kernel has no memory for an area", "free memory and try again"),
}
_REGISTER = {
    errno.EINVAL: _Advice(
        "the length is 0, or the address is not page-aligned",
        "pass at least one page, and an address that is a multiple of the page size",
    ),
    errno.ERANGE: _Advice(
        "the range wraps around, or exceeds the address space of the process",
        "pass a range below the end of user addresses",
    ),
    errno.EEXIST: _Advice(
        "the range overlaps a registered region of this address space",
        "omit the pages that are already registered, or remove the other region first",
    ),
    errno.ENOSPC: _Advice(
        f"the area has {abi.MAX_REGIONS_PER_AREA} regions, which is the limit",
        "create another area, or register larger regions",
    ),
    errno.EFAULT: _Advice("the kernel cannot read the argument", "pass the address of a structure"),
    errno.ENOMEM: _Advice("the kernel has no memory for the region", "free memory and try again"),
    errno.ENOTTY: _Advice(
        "the file descriptor is not a KSM area", "use an area that create_area() has returned"
    ),
}
_REMOVE = {
    errno.ENOMEM: _Advice(
        "the kernel has no memory for a copy of each merged page",
        "free memory and call remove() again",
    ),
    errno.EINTR: _Advice("a signal interrupted the removal", "call remove() again"),
    errno.EFAULT: _Advice(
        "a page cannot be copied, because its memory has an error or userfaultfd protects it",
        "remove the protection and call remove() again, or close the area",
    ),
    errno.ENOTTY: _Advice(
        "the file descriptor is not a KSM area", "use an area that create_area() has returned"
    ),
}


def _explain(
    kind: type[KsmError], error: OSError, what: str, untouched: str, table: dict[int, _Advice]
) -> KsmError:
    """Return an error with the same errno, and with a text that says what to do."""
    number = error.errno or 0
    advice = table.get(number, _Advice(os.strerror(number), "see the kernel log (dmesg)"))
    return kind(number, f"{what}: {advice.happened}. {untouched} Next: {advice.next}.")


class Descriptor(Closing):
    """A file descriptor that is closed at the end of a with statement.

    Args:
        fd: The file descriptor, which this object owns from now on.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """Return the file descriptor, for select() and ioctl().

        Raises:
            ValueError: The file descriptor is closed.
        """
        if self._fd < 0:
            raise ValueError("the file descriptor is closed. Next: open the device again")
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether the file descriptor is closed."""
        return self._fd < 0

    def close(self) -> None:
        """Close the file descriptor. A second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_device(path: Path) -> int:
    """Open a device of the driver, and return the file descriptor.

    Raises:
        DeviceError: The device does not exist, or this user may not open it.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise _explain(
            DeviceError, error, f"cannot open {path}", "Nothing was changed.", _OPEN
        ) from error


class KsmDevice(Descriptor):
    """The open device ``/dev/ksm``.

    Source: kernel/dev.c.
    """

    def __init__(self, path: Path = DEVICE) -> None:
        """Open the device.

        Args:
            path: The path of the device.

        Raises:
            DeviceError: The device does not exist, or this user may not open it.
        """
        super().__init__(open_device(path))

    def api_version(self) -> int:
        """Return the version of the interface (KSM_GET_API_VERSION). The only version is 1."""
        return fcntl.ioctl(self.fileno(), abi.KSM_GET_API_VERSION)

    def create_area(self) -> Area:
        """Create an area without regions.

        Raises:
            DeviceError: The limit of open files is reached, or the kernel has no memory.
        """
        try:
            return Area(fcntl.ioctl(self.fileno(), abi.KSM_CREATE_SHARED_MEMORY_AREA))
        except OSError as error:
            raise _explain(
                DeviceError, error, "cannot create an area", "No area was created.", _CREATE
            ) from error


class Area(Descriptor):
    """An area: a file descriptor on which regions of memory are registered.

    When its last copy is closed, the driver removes its regions, and each merged page becomes private again.
    Source: kernel/dev.c and kernel/area.c.
    """

    @overload
    def register(self, where: PageRange) -> None: ...

    @overload
    def register(self, where: int, npages: int) -> None: ...

    def register(self, where: PageRange | int, npages: int | None = None) -> None:
        """Register a range of this process's memory, so that the driver merges its pages.

        Args:
            where: An object such as an arena, or the page-aligned address of the first byte.
            npages: The length in pages, if `where` is an address.

        Raises:
            RegisterError: The driver refused the range. Its errno and text say why.
            TypeError: `where` is an address, and `npages` is missing.
        """
        if isinstance(where, int):
            if npages is None:
                raise TypeError(
                    "register() needs a number of pages if it is called with an address"
                )
            addr, count = where, npages
        else:
            addr, count = where.address, where.npages
        region = abi.MemoryRegion(npages=count, addr=addr)
        self._register(abi.KSM_REGISTER_MEMORY_REGION, region, addr, count)

    def register_v16(self, addr: int, npages: int) -> None:
        """Register a range with the 16-byte structure. Otherwise the same as register().

        Args:
            addr: The page-aligned address of the first byte.
            npages: The length in pages.

        Raises:
            RegisterError: The driver refused the range.
        """
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
                "The area was not changed.",
                _REGISTER,
            ) from error

    def remove(self) -> None:
        """Remove all regions of the area. Each merged page becomes a private copy.

        Raises:
            RemoveError: The kernel has no memory for a copy, a page cannot be copied, or a signal interrupted the
                call. Regions that were not removed stay registered, and the call may be repeated.
        """
        try:
            fcntl.ioctl(self.fileno(), abi.KSM_REMOVE_MEMORY_REGION)
        except OSError as error:
            raise _explain(
                RemoveError,
                error,
                "cannot remove the regions",
                "Regions that were not removed stay registered, and no content was changed.",
                _REMOVE,
            ) from error
