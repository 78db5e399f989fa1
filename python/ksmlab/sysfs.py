"""Read and write the driver's settings and counters in ``/sys/kernel/mm/ksm``.

The directory is called ``ksm_dev`` if in-kernel KSM uses the name ``ksm``. The module parameter ``sysfs_dir`` contains
the name. Source: kernel/sysfs.c.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Never, Self, overload

from ksmlab.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SYS = Path("/sys")


class Run(IntEnum):
    """The values of ``run``."""

    STOP = 0
    SCAN = 1
    UNMERGE = 2


class SysfsError(OSError):
    """A file cannot be read or written; the text says what to do next."""


class WaitTimeoutError(TimeoutError):
    """A condition did not become true in time.

    Args:
        what: The condition, as text.
        seconds: The time limit, in seconds.
        last: The values of the counters at the end.

    Attributes:
        last: The values of the counters at the end.
    """

    def __init__(self, what: str, seconds: float, last: Counters) -> None:
        self.last = last
        super().__init__(
            f"waited {seconds:.1f} s for {what}; last seen: {last}. "
            "Nothing was changed. Next: check that run is 1 and that full_scans grows. "
            "If so, wait longer; otherwise see the kernel log"
        )


@dataclass(frozen=True)
class Counters:
    """The values of the files, which are read one after the other.

    ``pages_*`` are numbers of pages, and ``sleep`` is in microseconds. ``skipped`` has, for each reason, the number of
    pages that the last complete pass did not merge. ``pages_shared`` is the number of frames saved by merging, which
    mainline KSM calls ``pages_sharing``. ``zero_pages`` are saved in addition.
    """

    run: int
    pages_to_scan: int
    sleep: int
    max_kernel_pages: int
    max_page_sharing: int
    pages_shared: int
    kernel_pages_allocated: int
    zero_pages: int
    full_scans: int
    pages_volatile: int
    skipped: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the values on one line, with the names of the files."""
        reasons = " ".join(f"{name}={count}" for name, count in self.skipped.items() if count)
        return (
            f"run={self.run} pages_shared={self.pages_shared} "
            f"kernel_pages_allocated={self.kernel_pages_allocated} "
            f"zero_pages={self.zero_pages} "
            f"full_scans={self.full_scans} pages_volatile={self.pages_volatile} "
            f"pages_to_scan={self.pages_to_scan} sleep={self.sleep} "
            f"max_kernel_pages={self.max_kernel_pages} "
            f"max_page_sharing={self.max_page_sharing} skipped: {reasons or 'none'}"
        )


class _Counter:
    """A descriptor for a read-only file with a number.

    Args:
        doc: The meaning of the number, with its unit.
    """

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        """Set the name of the file, which is that of the Python attribute."""
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: KsmSysfs, owner: type) -> int: ...

    def __get__(self, instance: KsmSysfs | None, owner: type) -> Self | int:
        """Read the file."""
        return self if instance is None else instance.read(self._name)

    def __set__(self, instance: KsmSysfs, value: Never) -> None:
        """Raise an error, since the file is read-only."""
        raise AttributeError(f"{self._name} cannot be set: it is a counter of the driver")


class _Setting(_Counter):
    """A descriptor for a file with a number that can be written."""

    def __set__(self, instance: KsmSysfs, value: int) -> None:
        """Write the file."""
        instance.write(self._name, value)


class KsmSysfs:
    """The sysfs files of the driver, as Python attributes.

    Args:
        directory: The directory of the files, such as ``/sys/kernel/mm/ksm``.
    """

    run = _Setting("Stop scanning (0), scan (1), or stop scanning and unmerge all pages (2).")
    pages_to_scan = _Setting("The pages that each scanner thread examines before it sleeps.")
    sleep = _Setting("The microseconds for which a scanner thread sleeps between two batches.")
    max_kernel_pages = _Setting("The maximum number of kernel pages; 0 for no limit.")
    max_page_sharing = _Setting(
        "The maximum number of mappings of one kernel page, from 2 to 511. It applies to later merges."
    )
    threads = _Setting("The number of scanner threads, from 1 to 16.")
    pages_shared = _Counter(
        "The number of frames saved: addresses in regions that map kernel pages, except one for each kernel page. "
        "Mainline KSM calls it pages_sharing."
    )
    kernel_pages_allocated = _Counter(
        "The number of kernel pages in use. Mainline KSM calls it pages_shared."
    )
    zero_pages = _Counter(
        "The number of pages that the zero page has replaced when a scanner split a huge page. "
        "These frames are saved in addition to pages_shared."
    )
    full_scans = _Counter("The number of complete passes over all regions.")
    pages_volatile = _Counter(
        "The number of pages whose content had changed when the last complete pass examined them."
    )

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def find(cls, sys: Path = SYS) -> KsmSysfs:
        """Find the directory of the loaded driver.

        Args:
            sys: The mount point of sysfs.

        Raises:
            SysfsError: The module is not loaded, or its directory does not exist.
        """
        parameter = sys / "module/ksm/parameters/sysfs_dir"
        try:
            name = parameter.read_text().strip()
        except FileNotFoundError as error:
            raise SysfsError(
                errno.ENOENT,
                f"the driver is not loaded: {parameter} does not exist. "
                "Nothing was changed. Next: load the module with insmod ksm.ko",
            ) from error
        directory = sys / "kernel/mm" / name
        if not name or not directory.is_dir():
            raise SysfsError(
                errno.ENOENT,
                f"the driver's directory {directory} does not exist. Nothing was changed. "
                "Next: reload the module, and see the kernel log",
            )
        return cls(directory)

    def read(self, name: str) -> int:
        """Return the number in a file.

        Args:
            name: The path of the file in the directory, such as ``skipped/pinned``.

        Raises:
            SysfsError: The file cannot be read, or does not contain a number.
        """
        path = self.directory / name
        try:
            return int(path.read_text())
        except OSError as error:
            raise SysfsError(
                error.errno,
                f"cannot read {path}: {error.strerror}. Next: check that the module is loaded",
            ) from error
        except ValueError as error:
            raise SysfsError(errno.EINVAL, f"{path} does not contain a number: {error}") from error

    def write(self, name: str, value: int | str) -> None:
        """Write a value to a file.

        Args:
            name: The path of the file in the directory.
            value: A number, or a string to write without changes.

        Raises:
            SysfsError: The kernel refused the value. The file keeps its old value.
        """
        path = self.directory / name
        try:
            # Use the flags of a shell's redirection, except O_CREAT.
            fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            try:
                os.write(fd, str(value).encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise SysfsError(
                error.errno,
                f"cannot write {value!r} to {path}: {error.strerror}. The file keeps its old "
                "value. Next: write a valid number, as root",
            ) from error

    def skipped(self) -> dict[str, int]:
        """Return the numbers of pages that the last complete pass did not merge, by reason."""
        directory = self.directory / "skipped"
        if not directory.is_dir():
            return {}
        return {
            path.name: self.read(f"skipped/{path.name}") for path in sorted(directory.iterdir())
        }

    def counters(self) -> Counters:
        """Read all files."""
        return Counters(
            run=self.run,
            pages_to_scan=self.pages_to_scan,
            sleep=self.sleep,
            max_kernel_pages=self.max_kernel_pages,
            max_page_sharing=self.max_page_sharing,
            pages_shared=self.pages_shared,
            kernel_pages_allocated=self.kernel_pages_allocated,
            zero_pages=self.zero_pages,
            full_scans=self.full_scans,
            pages_volatile=self.pages_volatile,
            skipped=self.skipped(),
        )

    def wait_until(
        self,
        condition: Callable[[Self], bool],
        deadline: float,
        what: str = "a condition",
        interval: float = 0.02,
    ) -> None:
        """Poll until a condition holds.

        Args:
            condition: A function that is called with this object.
            deadline: The time limit in seconds for an ordinary machine; `patience.patient` adapts it to slower ones.
            what: The condition as text, for an error message.
            interval: The seconds between two calls of the function.

        Raises:
            WaitTimeoutError: The condition does not hold at the end of the time limit.
        """
        deadline = patient(deadline)
        end = time.monotonic() + deadline
        while not condition(self):
            if time.monotonic() >= end:
                raise WaitTimeoutError(what, deadline, self.counters())
            time.sleep(interval)

    def wait_full_scans(self, count: int = 1, deadline: float = 60.0) -> None:
        """Wait for complete passes that begin after this call.

        The current pass does not count, since it may already have examined the page of interest.

        Args:
            count: The number of passes.
            deadline: The time limit in seconds for an ordinary machine, see `wait_until`.

        Raises:
            WaitTimeoutError: Fewer passes were complete at the end of the time limit.
        """
        target = self.full_scans + count + 1
        self.wait_until(lambda s: s.full_scans >= target, deadline, f"full_scans to be {target}")

    @contextmanager
    def settings(self, **values: int) -> Iterator[Self]:
        """Change settings during the block, and restore the old values afterwards.

        Args:
            values: The settings, such as ``pages_to_scan=500, sleep=1000``. ``run`` is written last, and restored
                first.
        """
        order = sorted(values, key=lambda name: name == "run")
        old = {name: self.read(name) for name in order}
        try:
            for name in order:
                self.write(name, values[name])
            yield self
        finally:
            for name in reversed(order):
                self.write(name, old[name])
