"""``/sys/kernel/mm/ksm``: the driver's settings and counters, typed.

The name of the directory is ``ksm``, or ``ksm_dev`` beside the kernel's own KSM; the module
parameter ``sysfs_dir`` says which. Source: kernel/sysfs.c.
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
    """What is written to ``run``."""

    STOP = 0
    SCAN = 1
    UNMERGE = 2


class SysfsError(OSError):
    """An attribute cannot be read or written; the text says what to do next."""


class WaitTimeoutError(TimeoutError):
    """A condition did not come true in time; ``last`` has the values seen last."""

    def __init__(self, what: str, seconds: float, last: Counters) -> None:
        """Say what was waited for, for how many seconds, and what was there instead."""
        self.last = last
        super().__init__(
            f"waited {seconds:.1f} s for {what}; last seen: {last}. "
            "Nothing is changed. Next: see whether run is 1 and full_scans grows; "
            "if it does, wait longer, else look at the kernel log"
        )


@dataclass(frozen=True)
class Counters:
    """All attributes at (nearly) one moment.

    ``pages_*`` count pages, ``sleep`` is in microseconds, ``skipped`` counts pages by the reason
    why the last full pass left them alone. ``pages_shared`` is what mainline KSM calls
    ``pages_sharing``: frames saved by merging. ``zero_pages`` are saved as well.
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
        """Show the values on one line, as in sysfs."""
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
    """A number that the driver counts: read-only."""

    def __init__(self, doc: str) -> None:
        """Take the meaning of the attribute, with its unit."""
        self.__doc__ = doc
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn the name of the file, which is that of the Python attribute."""
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: KsmSysfs, owner: type) -> int: ...

    def __get__(self, instance: KsmSysfs | None, owner: type) -> Self | int:
        """Read the file."""
        return self if instance is None else instance.read(self._name)

    def __set__(self, instance: KsmSysfs, value: Never) -> None:
        """Refuse: the driver alone counts."""
        raise AttributeError(f"{self._name} is a counter, which only the driver changes")


class _Setting(_Counter):
    """A number that can also be written."""

    def __set__(self, instance: KsmSysfs, value: int) -> None:
        """Write the file."""
        instance.write(self._name, value)


class KsmSysfs:
    """The attributes of the driver, as Python attributes."""

    run = _Setting("0 stop, 1 scan, 2 unmerge everything and stop.")
    pages_to_scan = _Setting(
        "Pages that kksmd, and each thread beside it, looks at before it sleeps."
    )
    sleep = _Setting("Microseconds that it sleeps between two batches.")
    max_kernel_pages = _Setting("The most kernel pages there may be; 0 is no limit.")
    max_page_sharing = _Setting(
        "The most mappings of one kernel page, from 2 to 511. It applies to later merges."
    )
    threads = _Setting("Threads that scan, from 1 to 16.")
    pages_shared = _Counter(
        "Mappings beyond the first of each kernel page: the frames saved. "
        "Mainline KSM calls this pages_sharing."
    )
    kernel_pages_allocated = _Counter(
        "Kernel pages in use. Mainline KSM calls their number pages_shared."
    )
    zero_pages = _Counter(
        "Pages that the zero page replaced when a scanner split a huge page: frames saved "
        "that pages_shared does not count."
    )
    full_scans = _Counter("Passes over all regions that are complete.")
    pages_volatile = _Counter("Pages of the last full pass whose content had changed.")

    def __init__(self, directory: Path) -> None:
        """Use the attributes of a directory.

        Args:
            directory: where they are, such as ``/sys/kernel/mm/ksm``.
        """
        self.directory = directory

    @classmethod
    def find(cls, sys: Path = SYS) -> KsmSysfs:
        """Find the directory of the loaded driver.

        Args:
            sys: where sysfs is mounted.

        Raises:
            SysfsError: the module is not loaded, or its directory is not there.
        """
        parameter = sys / "module/ksm/parameters/sysfs_dir"
        try:
            name = parameter.read_text().strip()
        except FileNotFoundError as error:
            raise SysfsError(
                errno.ENOENT,
                f"{parameter} is not there, so the ksm module is not loaded. "
                "Nothing is changed. Next: insmod ksm.ko",
            ) from error
        directory = sys / "kernel/mm" / name
        if not name or not directory.is_dir():
            raise SysfsError(
                errno.ENOENT,
                f"the module names {directory}, which is not there. Nothing is changed. "
                "Next: load the module again, and look at the kernel log",
            )
        return cls(directory)

    def read(self, name: str) -> int:
        """Return the value of one attribute, such as ``skipped/pinned``.

        Raises:
            SysfsError: it cannot be read, or holds no number.
        """
        path = self.directory / name
        try:
            return int(path.read_text())
        except OSError as error:
            raise SysfsError(
                error.errno,
                f"cannot read {path}: {error.strerror}. Next: see that the module is loaded",
            ) from error
        except ValueError as error:
            raise SysfsError(errno.EINVAL, f"{path} holds no number: {error}") from error

    def write(self, name: str, value: int | str) -> None:
        """Write one attribute; a string goes to the kernel as it is.

        Raises:
            SysfsError: the kernel refused the value; the attribute keeps its old one.
        """
        path = self.directory / name
        try:
            # As a shell does it, but a missing attribute stays missing.
            fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            try:
                os.write(fd, str(value).encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise SysfsError(
                error.errno,
                f"cannot write {value!r} to {path}: {error.strerror}. The attribute keeps its "
                "value. Next: give a number in range, as root",
            ) from error

    def skipped(self) -> dict[str, int]:
        """Return how many pages the last full pass left alone, by reason."""
        directory = self.directory / "skipped"
        if not directory.is_dir():
            return {}
        return {
            path.name: self.read(f"skipped/{path.name}") for path in sorted(directory.iterdir())
        }

    def counters(self) -> Counters:
        """Read every attribute."""
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
            condition: is called with this object.
            deadline: seconds from now, on an ordinary CPU.
            what: what is waited for, for the error.
            interval: seconds between two looks.

        Raises:
            WaitTimeoutError: the condition does not hold at the deadline.
        """
        deadline = patient(deadline)
        end = time.monotonic() + deadline
        while not condition(self):
            if time.monotonic() >= end:
                raise WaitTimeoutError(what, deadline, self.counters())
            time.sleep(interval)

    def wait_full_scans(self, count: int = 1, deadline: float = 60.0) -> None:
        """Wait until whole passes have begun and ended after this call.

        The pass under way may be past the page of interest, so it does not count.

        Args:
            count: passes.
            deadline: seconds from now, on an ordinary CPU.

        Raises:
            WaitTimeoutError: fewer passes were complete at the deadline.
        """
        target = self.full_scans + count + 1
        self.wait_until(lambda s: s.full_scans >= target, deadline, f"full_scans to be {target}")

    @contextmanager
    def settings(self, **values: int) -> Iterator[Self]:
        """Write settings, and put the old ones back at the end.

        Args:
            values: ``pages_to_scan=500, sleep=1000``, and so on; ``run`` is written last on the
                way in and first on the way out.
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
