"""The fuzzer without a driver: the memory is real, areas are files in memory, and nothing merges.

For tests of the fuzzer on the host. One process only: an area knows the regions of its own process.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Any, ClassVar

from fuzz_machine import FuzzMachine, Sysfs

from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOST = 1 << 47


class FakeDriver:
    """Regions in a dictionary, by the inode of their area's file."""

    #: An area takes one region and no more: the planted bug.
    planted = False

    def __init__(self) -> None:
        self._regions: dict[int, list[tuple[int, int]]] = {}

    def _open_areas(self) -> set[int]:
        found = set()
        for name in os.listdir("/proc/self/fd"):
            try:
                found.add(os.fstat(int(name)).st_ino)
            except OSError:
                continue
        return found

    def create(self) -> int:
        return os.memfd_create("area")

    def register(self, fd: int, addr: int, npages: int) -> None:
        end = addr + npages * PAGE_SIZE
        if not npages or addr % PAGE_SIZE:
            raise OSError(errno.EINVAL, "register")
        if end > MOST:
            raise OSError(errno.ERANGE, "register")
        still_open = self._open_areas()
        if self.planted and self.regions(fd):
            raise OSError(errno.EEXIST, "register")
        for inode, regions in self._regions.items():
            for low, high in regions if inode in still_open else ():
                if low < end and addr < high:
                    raise OSError(errno.EEXIST, "register")
        self._regions.setdefault(os.fstat(fd).st_ino, []).append((addr, end))

    def remove(self, fd: int) -> None:
        self._regions.pop(os.fstat(fd).st_ino, None)

    def regions(self, fd: int) -> int:
        return len(self._regions.get(os.fstat(fd).st_ino, []))


class PlantedDriver(FakeDriver):
    planted = True


class FakeSysfs:
    """Numbers that are kept, and passes that are always over."""

    #: The values that each setting takes; others take 64 bits.
    ranges: ClassVar = {
        "run": range(3),
        "pages_to_scan": range(1 << 32),
        "sleep": range(1 << 32),
        "max_page_sharing": range(2, 512),
    }

    def __init__(self) -> None:
        self._values: dict[str, int] = {}

    def read(self, name: str) -> int:
        return self._values.get(name, 0)

    def write(self, name: str, value: int | str) -> None:
        text = str(value).strip()
        if not text.isdigit() or int(text) not in self.ranges.get(name, range(1 << 64)):
            raise OSError(errno.EINVAL, name)
        self._values[name] = int(text)

    def wait_full_scans(self, _count: int = 1, _deadline: float = 60.0) -> None:
        pass

    def wait_until(
        self, condition: Callable[[Any], bool], _deadline: float, what: str = ""
    ) -> None:
        assert condition(self), what


class FakeMachine(FuzzMachine):
    most_members = 1
    driver = FakeDriver
    log = None

    #: What the kernel says after a step, by the step's name.
    said: ClassVar[dict[str, str]] = {}

    @classmethod
    @contextlib.contextmanager
    def surroundings(cls, _place: Path) -> Iterator[None]:
        yield

    def find_sysfs(self) -> Sysfs:
        return FakeSysfs()

    def find_cgroups(self) -> Path | None:
        return None

    def can_poison(self) -> bool:
        return False

    def listen(self) -> list[str]:
        return [self.said[name] for name, _ in self.history[-1:] if name in self.said]


class PlantedMachine(FakeMachine):
    driver = PlantedDriver


class WarningMachine(FakeMachine):
    said: ClassVar[dict[str, str]] = {"mremap": "WARNING: CPU: 1 PID: 77 at mm/rmap.c:1 it+0x1/0x2"}
