"""The scanners that the benchmarks measure, behind one interface: the kernel's own KSM, and our driver.

The scanner's thread and the measuring process are bound to one CPU. So whenever the process takes a measurement, the
scanner is off the CPU and its CPU time is up to date. The cost of the measurement is not counted as the scanner's, even
when one thread of the host emulates both CPUs.
Source: Documentation/admin-guide/mm/ksm.rst, Documentation/scheduler/sched-stats.rst.

The CPU time needs one correction. When the process wakes up, the scanner keeps the CPU until it next calls
cond_resched(), or on a preemptible kernel, until it drops its locks. The scheduler updates its clock at the wake-up and
not again at the switch (rq_clock_skip_update() in kernel/sched/core.c), so it charges this time to the process. The
process measures how late it got the CPU, and adds that to the scanner's time.
"""

from __future__ import annotations

import contextlib
import os
import time
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ksmlab import libc
from ksmlab.bench.plan import HASH, IN_KERNEL, IN_KERNEL_PLAIN
from ksmlab.closing import Closing
from ksmlab.device import KsmDevice
from ksmlab.libc import PAGE_SIZE
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ksmlab.bench.workloads import Memory
    from ksmlab.device import Area

#: The CPU of the scanner and of the measuring process.
CPU = 0
KERNEL_DIRECTORY = Path("/sys/kernel/mm/ksm")
MADV_MERGEABLE = 12
MADV_UNMERGEABLE = 13
#: Pages between two offers to sleep, which are not taken up.
BATCH = 4096
#: Pages between two sleeps where each pass is to end in one: more than there are.
WHOLE = (1 << 32) - 1
#: Microseconds of such a sleep: far more than lies between two looks.
PAUSE_US = 20_000
_PARAMETERS = Path("/sys/module/ksm/parameters")
_PROC = Path("/proc")
_SLABS = Path("/sys/kernel/slab")
_LONGEST = 256
_WAKINGS, _WAKING_SECONDS = 10, 0.001


class EngineError(RuntimeError):
    """An engine is not as it should be; the text says what to do next."""


@dataclass(frozen=True)
class Rest:
    """How an engine leaves out of a pass what has not changed for long.

    Attributes:
        settle: Passes after which what does not change rests for as long as it ever does.
        cycle: Passes in which each page is looked at once then; 1 where nothing rests.
    """

    settle: int
    cycle: int


#: Every pass is a look at everything; the first few, with what is left to merge, are let go by all the same.
NO_REST = Rest(settle=3, cycle=1)
#: Smart scan: a page is left out of 8 passes once it is older than 8. Source: skip_age() in mm/ksm.c.
SMART_REST = Rest(settle=22, cycle=9)
#: KSM_IDLE_MIN and KSM_IDLE_MAX of kernel/ksm.h: 41 passes until a chunk is first skipped for 32, and those 32 passes.
HASH_REST = Rest(settle=76, cycle=33)


@dataclass(frozen=True)
class Look:
    """The state of an engine at one moment.

    Attributes:
        ns: The time, in nanoseconds.
        cpu_ns: CPU time of its thread, in nanoseconds.
        saved: Frames saved.
        scans: Passes that are complete.
    """

    ns: int
    cpu_ns: int
    saved: int
    scans: int


def thread_id(name: str) -> int:
    """Find a kernel thread.

    Raises:
        EngineError: There is none of this name.
    """
    for comm in _PROC.glob("[0-9]*/comm"):
        # Another process may end meanwhile.
        with contextlib.suppress(OSError):
            if comm.read_text() == f"{name}\n":
                return int(comm.parent.name)
    raise EngineError(f"there is no thread {name}. Nothing is changed. Next: load the module")


def slab_bytes(*names: str) -> int:
    """Return the bytes of the objects of some slab caches (/proc/slabinfo).

    Objects that a CPU has set aside count as used there, so they are given back first.
    """
    for name in names:
        shrink = _SLABS / name / "shrink"
        if shrink.exists():
            shrink.write_text("1")
    total = 0
    for line in (_PROC / "slabinfo").read_text().splitlines()[2:]:
        name, active, _objects, size, *_ = line.split()
        if name in names:
            total += int(active) * int(size)
    return total


def read_all(directory: Path, names: Sequence[str]) -> dict[str, str]:
    """Read those files of a directory that are there, each of one line."""
    paths = ((name, directory / name) for name in names)
    return {name: path.read_text().strip() for name, path in paths if path.exists()}


class Engine(Closing):
    """A scanner, at full speed, on the memory that it was given.

    Args:
        name: One of plan.ENGINES.
        directory: Its sysfs directory.
        thread: The name of its thread.
        saved: The attribute that counts the frames saved.

    Attributes:
        rest: What it leaves out of passes.
    """

    #: Files of its directory that say how it was set.
    SETTINGS: ClassVar[tuple[str, ...]]
    rest = NO_REST

    def __init__(self, name: str, directory: Path, thread: str, saved: str) -> None:
        """Find its thread, and bind it to its CPU."""
        self.name = name
        self.thread = thread
        self.sysfs = KsmSysfs(directory)
        pid = thread_id(thread)
        os.sched_setaffinity(pid, {CPU})
        paths = (_PROC / str(pid) / "schedstat", directory / saved, directory / "full_scans")
        self._files = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]
        self._cpu = self._counted = self._kept = self._elapsed = 0
        self._prompt = self._waking()
        self.look()

    def _waking(self) -> int:
        """Return the delay of a wake-up on a CPU where no other thread runs, in nanoseconds."""
        self._prompt = 0
        kept = []
        for _ in range(_WAKINGS):
            self.wait(_WAKING_SECONDS)
            kept.append(self._kept)
        self._kept = 0
        return min(kept)

    def wait(self, seconds: float) -> None:
        """Sleep, which leaves the CPU to the scanner, and record how much longer the scanner kept it."""
        start = time.monotonic_ns()
        time.sleep(seconds)
        self._elapsed = time.monotonic_ns() - start
        self._kept = max(0, self._elapsed - round(seconds * 1e9) - self._prompt)

    def look(self) -> Look:
        """Return the scanner's state, with the corrected CPU time."""
        cpu, saved, scans = (int(os.pread(fd, _LONGEST, 0).split()[0]) for fd in self._files)
        used = cpu - self._counted
        # The scanner cannot run for longer than the time that has passed: if the host did not run the VM for a while,
        # the kernel has already counted that while as the scanner's.
        self._cpu += used + min(self._kept, max(0, self._elapsed - self._prompt - used))
        self._counted, self._kept = cpu, 0
        return Look(time.monotonic_ns(), self._cpu, saved, scans)

    @abstractmethod
    def add(self, memory: Memory) -> None:
        """Offer it memory; it does not scan yet."""

    @abstractmethod
    def remove(self, memory: Memory) -> None:
        """Unmerge the pages of some memory, and take the memory back."""

    @abstractmethod
    def drop(self, memory: Memory) -> None:
        """Take the memory back, stop the scanner, and free what the engine remembers of the memory."""

    @abstractmethod
    def metadata_bytes(self) -> int | None:
        """Return the bytes that it uses to remember pages, or None when it does not say."""

    def settings(self) -> dict[str, str]:
        """Say how it is set; what this kernel does not have is left out."""
        return read_all(self.sysfs.directory, self.SETTINGS)

    def look_at_all(self) -> bool:
        """Have nothing rest in the next passes, each of which ends in a sleep; say whether it can do so."""
        return False

    def run(self) -> None:
        """Let it scan."""
        self.sysfs.write("run", 1)

    def stop(self) -> None:
        """Have it stand still; what is merged stays merged."""
        self.sysfs.write("run", 0)

    def unmerge_all(self) -> None:
        """Stop the scanner and unmerge all pages."""
        self.sysfs.write("run", 2)

    def close(self) -> None:
        """Close the files of the scanner's counters."""
        for fd in self._files:
            os.close(fd)
        self._files = []


class KernelEngine(Engine):
    """The kernel's own KSM."""

    _SLABS = ("ksm_rmap_item", "ksm_stable_node", "ksm_mm_slot")
    SETTINGS = (
        "pages_to_scan", "sleep_millisecs", "smart_scan", "advisor_mode", "use_zero_pages",
        "merge_across_nodes", "max_page_sharing",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        """Take its settings as they are, or for IN_KERNEL_PLAIN without smart scan and advisor."""
        super().__init__(name, KERNEL_DIRECTORY, "ksmd", "pages_sharing")
        self.sysfs.write("pages_to_scan", BATCH)
        self.sysfs.write("sleep_millisecs", 0)
        if self.sysfs.directory.joinpath("smart_scan").exists():
            self.sysfs.write("smart_scan", int(name == IN_KERNEL))
            self.rest = SMART_REST if name == IN_KERNEL else NO_REST
        if name == IN_KERNEL_PLAIN and self.sysfs.directory.joinpath("advisor_mode").exists():
            (self.sysfs.directory / "advisor_mode").write_text("none")

    @staticmethod
    def available() -> tuple[str, ...]:
        """Give what of it this kernel has. To be called before our driver is loaded."""
        if not KERNEL_DIRECTORY.exists():
            return ()
        smart = KERNEL_DIRECTORY.joinpath("smart_scan").exists()
        return (IN_KERNEL, IN_KERNEL_PLAIN) if smart else (IN_KERNEL,)

    def add(self, memory: Memory) -> None:
        """Mark it mergeable."""
        libc.advise(memory.address, memory.npages * PAGE_SIZE, MADV_MERGEABLE)

    def remove(self, memory: Memory) -> None:
        """Call madvise(MADV_UNMERGEABLE); the kernel keeps its rmap_items until the next scan."""
        libc.advise(memory.address, memory.npages * PAGE_SIZE, MADV_UNMERGEABLE)

    def drop(self, memory: Memory) -> None:
        """Write run=2, which frees the rmap_items, and call remove()."""
        self.unmerge_all()
        self.remove(memory)
        self.stop()

    def metadata_bytes(self) -> int:
        """Return what its slab caches hold; the VM is booted with slab_nomerge, so that they have names."""
        return slab_bytes(*self._SLABS)


class DriverEngine(Engine):
    """Our driver, loaded, with one index."""

    SETTINGS = ("pages_to_scan", "sleep", "max_kernel_pages", "max_page_sharing")

    def __init__(self, name: str) -> None:
        """Take the directory that the module names."""
        super().__init__(name, KsmSysfs.find().directory, "kksmd", "pages_shared")
        self._pace(BATCH, 0)
        self.sysfs.write("max_kernel_pages", 0)
        self.rest = HASH_REST if name == HASH else NO_REST
        self._area: Area | None = None

    def _pace(self, pages: int, sleep_us: int) -> None:
        self.sysfs.write("pages_to_scan", pages)
        self.sysfs.write("sleep", sleep_us)

    def settings(self) -> dict[str, str]:
        """Say how it is set, and how it was loaded."""
        return super().settings() | read_all(_PARAMETERS, ("index", "hash_seed"))

    def look_at_all(self) -> bool:
        """Write to `run`: after the pass that is under way nothing rests for four more."""
        self._pace(WHOLE, PAUSE_US)
        self.run()
        return True

    def add(self, memory: Memory) -> None:
        """Register it."""
        with KsmDevice() as device:
            self._area = device.create_area()
        self._area.register(memory)

    def remove(self, memory: Memory) -> None:
        """Remove all regions of the area; a second call does nothing."""
        del memory
        if self._area is not None:
            self._area.remove()
            self._area.close()
            self._area = None

    def drop(self, memory: Memory) -> None:
        """Call remove(), and stop the scanner."""
        self.remove(memory)
        self.stop()

    def metadata_bytes(self) -> int | None:
        """Return what the driver says; a driver that says nothing leaves no way to tell its pages from others."""
        if not self.sysfs.directory.joinpath("metadata_bytes").exists():
            return None
        return self.sysfs.read("metadata_bytes")
