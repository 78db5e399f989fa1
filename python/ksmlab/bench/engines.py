"""A common interface to the scanners that the benchmark measures: in-kernel KSM and this driver.

The scanner's thread and the measuring process are bound to the same CPU. So whenever the process reads the counters,
the scanner is not running, and its CPU time is up to date. The cost of reading is not counted as the scanner's, even if
one thread of the host emulates all CPUs.
Source: Documentation/admin-guide/mm/ksm.rst, Documentation/scheduler/sched-stats.rst.

The CPU time needs one correction. When the process wakes up, the scanner keeps the CPU until it next calls
cond_resched() or, on a preemptible kernel, until it drops its locks. The scheduler updates its clock at the wake-up,
but not again at the switch (rq_clock_skip_update() in kernel/sched/core.c), so it charges this time to the process. The
process measures how late it got the CPU, and adds the delay to the scanner's time.
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
#: The pages_to_scan setting. Since the sleep time is 0, the scanner does not sleep after that many pages.
BATCH = 4096
#: The pages_to_scan setting that lets the scanner sleep only at the end of a pass: more pages than there are.
WHOLE = (1 << 32) - 1
#: The microseconds of that sleep, much longer than the interval between two readings of the counters.
PAUSE_US = 20_000
_PARAMETERS = Path("/sys/module/ksm/parameters")
_PROC = Path("/proc")
_SLABS = Path("/sys/kernel/slab")
_LONGEST = 256
_WAKINGS, _WAKING_SECONDS = 10, 0.001


class EngineError(RuntimeError):
    """An engine cannot be measured; the text says what to do next."""


@dataclass(frozen=True)
class Rest:
    """How an engine skips pages that have not changed for several passes.

    Attributes:
        settle: The number of passes after which unchanged pages are skipped for the maximum number of passes.
        cycle: The number of passes in which each page is scanned once from then on; 1 if no pages are skipped.
    """

    settle: int
    cycle: int


#: Each pass scans all pages. The first few passes, which still merge pages, are not measured.
NO_REST = Rest(settle=3, cycle=1)
#: Smart scan skips a page in 8 passes once its age is more than 8. Source: skip_age() in mm/ksm.c.
SMART_REST = Rest(settle=22, cycle=9)
#: See KSM_IDLE_MIN and KSM_IDLE_MAX in kernel/ksm.h: it takes 41 passes until a chunk is first skipped for 32 passes,
#: and then these 32 passes.
HASH_REST = Rest(settle=76, cycle=33)


@dataclass(frozen=True)
class Look:
    """The counters of an engine at one moment.

    Attributes:
        ns: The time, in nanoseconds.
        cpu_ns: The CPU time of its thread, in nanoseconds.
        saved: The number of frames saved.
        scans: The number of complete passes.
    """

    ns: int
    cpu_ns: int
    saved: int
    scans: int


def thread_id(name: str) -> int:
    """Return the PID of a kernel thread.

    Raises:
        EngineError: There is no thread of this name.
    """
    for comm in _PROC.glob("[0-9]*/comm"):
        # Ignore processes that end in the meantime.
        with contextlib.suppress(OSError):
            if comm.read_text() == f"{name}\n":
                return int(comm.parent.name)
    raise EngineError(
        f"there is no kernel thread called {name}. Nothing was changed. Next: load the module"
    )


def slab_bytes(*names: str) -> int:
    """Return the bytes of the objects in slab caches, according to /proc/slabinfo.

    That file counts free objects in the per-CPU slabs as used, so the caches are shrunk first.
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
    """Read files of one line in a directory. Files that do not exist are skipped."""
    paths = ((name, directory / name) for name in names)
    return {name: path.read_text().strip() for name, path in paths if path.exists()}


class Engine(Closing):
    """A scanner that runs at full speed on the memory that it was given.

    Args:
        name: One of plan.ENGINES.
        directory: Its sysfs directory.
        thread: The name of its thread.
        saved: The sysfs file that counts the frames saved.

    Attributes:
        rest: How it skips pages.
    """

    #: The files of its directory that contain its settings.
    SETTINGS: ClassVar[tuple[str, ...]]
    rest = NO_REST

    def __init__(self, name: str, directory: Path, thread: str, saved: str) -> None:
        """Find the scanner's thread, bind it to CPU, and open its counters."""
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
        """Sleep, so that the scanner can use the CPU, and record how long it delayed the wake-up."""
        start = time.monotonic_ns()
        time.sleep(seconds)
        self._elapsed = time.monotonic_ns() - start
        self._kept = max(0, self._elapsed - round(seconds * 1e9) - self._prompt)

    def look(self) -> Look:
        """Read the scanner's counters, and correct its CPU time."""
        cpu, saved, scans = (int(os.pread(fd, _LONGEST, 0).split()[0]) for fd in self._files)
        used = cpu - self._counted
        # The scanner cannot have run for longer than the elapsed time. If the host did not run the VM for a while, the
        # kernel has already counted that time as the scanner's.
        self._cpu += used + min(self._kept, max(0, self._elapsed - self._prompt - used))
        self._counted, self._kept = cpu, 0
        return Look(time.monotonic_ns(), self._cpu, saved, scans)

    @abstractmethod
    def add(self, memory: Memory) -> None:
        """Register memory with the engine. This does not start the scanner."""

    @abstractmethod
    def remove(self, memory: Memory) -> None:
        """Unregister memory, which unmerges its pages."""

    @abstractmethod
    def drop(self, memory: Memory) -> None:
        """Unregister memory, stop the scanner, and free the engine's metadata of the memory."""

    @abstractmethod
    def metadata_bytes(self) -> int | None:
        """Return the size of the engine's metadata in bytes, or None if it is unknown."""

    def settings(self) -> dict[str, str]:
        """Return the engine's settings by name, without those that this kernel does not have."""
        return read_all(self.sysfs.directory, self.SETTINGS)

    def look_at_all(self) -> bool:
        """Make the next passes scan all pages, and sleep after each pass.

        Returns:
            Whether the engine supports this.
        """
        return False

    def run(self) -> None:
        """Start the scanner."""
        self.sysfs.write("run", 1)

    def stop(self) -> None:
        """Stop the scanner. Merged pages stay merged."""
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
    """In-kernel KSM."""

    _SLABS = ("ksm_rmap_item", "ksm_stable_node", "ksm_mm_slot")
    SETTINGS = (
        "pages_to_scan", "sleep_millisecs", "smart_scan", "advisor_mode", "use_zero_pages",
        "merge_across_nodes", "max_page_sharing",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        """Use the default settings at full speed; for IN_KERNEL_PLAIN, turn smart scan and the advisor off."""
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
        """Return the in-kernel engines that this kernel has. Call this before the driver is loaded."""
        if not KERNEL_DIRECTORY.exists():
            return ()
        smart = KERNEL_DIRECTORY.joinpath("smart_scan").exists()
        return (IN_KERNEL, IN_KERNEL_PLAIN) if smart else (IN_KERNEL,)

    def add(self, memory: Memory) -> None:
        """Call madvise(MADV_MERGEABLE)."""
        libc.advise(memory.address, memory.npages * PAGE_SIZE, MADV_MERGEABLE)

    def remove(self, memory: Memory) -> None:
        """Call madvise(MADV_UNMERGEABLE). The kernel keeps the rmap_items until the next scan."""
        libc.advise(memory.address, memory.npages * PAGE_SIZE, MADV_UNMERGEABLE)

    def drop(self, memory: Memory) -> None:
        """Write run=2, which frees the rmap_items, and call remove()."""
        self.unmerge_all()
        self.remove(memory)
        self.stop()

    def metadata_bytes(self) -> int:
        """Return the size of the objects in its slab caches, which are separate because of slab_nomerge."""
        return slab_bytes(*self._SLABS)


class DriverEngine(Engine):
    """This driver, loaded with one of its indexes."""

    SETTINGS = ("pages_to_scan", "sleep", "max_kernel_pages", "max_page_sharing")

    def __init__(self, name: str) -> None:
        """Find the driver's sysfs directory, and set it to full speed."""
        super().__init__(name, KsmSysfs.find().directory, "kksmd", "pages_shared")
        self._pace(BATCH, 0)
        self.sysfs.write("max_kernel_pages", 0)
        self.rest = HASH_REST if name == HASH else NO_REST
        self._area: Area | None = None

    def _pace(self, pages: int, sleep_us: int) -> None:
        self.sysfs.write("pages_to_scan", pages)
        self.sysfs.write("sleep", sleep_us)

    def settings(self) -> dict[str, str]:
        """Return the driver's settings and the parameters with which it was loaded."""
        return super().settings() | read_all(_PARAMETERS, ("index", "hash_seed"))

    def look_at_all(self) -> bool:
        """Write to `run`. After the current pass, the driver skips no pages for four passes."""
        self._pace(WHOLE, PAUSE_US)
        self.run()
        return True

    def add(self, memory: Memory) -> None:
        """Register the memory in a new area."""
        with KsmDevice() as device:
            self._area = device.create_area()
        self._area.register(memory)

    def remove(self, memory: Memory) -> None:
        """Remove all regions of the area. A second call does nothing."""
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
        """Return the value of the driver's file metadata_bytes, or None if it does not have this file."""
        if not self.sysfs.directory.joinpath("metadata_bytes").exists():
            return None
        return self.sysfs.read("metadata_bytes")
