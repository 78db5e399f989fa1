"""Rules 4 and 7: what is left alone, and what may change under the scan."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from children import child
from test_sysfs import kksmd_runtime

from ksmlab import content, libc, pagemap
from ksmlab.device import KsmDevice, RegisterError
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import MADV_PAGEOUT, Arena
from ksmlab.pagemap import PageFlag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from conftest import Modules

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

NPAGES = 256
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def area() -> Iterator[Area]:
    with KsmDevice() as device, device.create_area() as area:
        yield area


@pytest.fixture
def arena() -> Iterator[Arena]:
    with Arena(NPAGES, huge=False) as arena:
        arena.fill(content.equal(NPAGES))
        yield arena


@pytest.fixture
def kernel_ksm(modules: Modules) -> Iterator[Path]:
    """The kernel's own KSM at work beside ours: its directory in /sys."""
    theirs = Path("/sys/kernel/mm/ksm")
    with modules.without():
        modules.insmod("ksm", "sysfs=auto")
        (theirs / "pages_to_scan").write_text("2000")
        (theirs / "sleep_millisecs").write_text("5")
        (theirs / "run").write_text("1")
        try:
            yield theirs
        finally:
            (theirs / "run").write_text("2")
            (theirs / "run").write_text("0")


@contextmanager
def swap(tmp_path: Path) -> Iterator[None]:
    """64 MiB of swap on a RAM disk: a loop device over a file in /tmp."""
    image = tmp_path / "swap"
    image.write_bytes(bytes(64 << 20))
    subprocess.run(["modprobe", "loop"], check=True)
    loop = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        subprocess.run(["mkswap", loop], check=True, capture_output=True)
        subprocess.run(["swapon", loop], check=True)
        try:
            yield
        finally:
            subprocess.run(["swapoff", loop], check=True)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


def left_alone(ksm: KsmSysfs, reason: str, pages: int) -> None:
    ksm.wait_full_scans(3)
    assert ksm.skipped()[reason] == pages, ksm.skipped()
    assert ksm.pages_shared == 0


def all_merged(ksm: KsmSysfs, pages: int = NPAGES) -> None:
    ksm.wait_until(lambda s: s.pages_shared == pages - 1, 60, f"{pages - 1} pages shared")


# What is left alone, and said why.


def test_a_shared_mapping(area: Area, scanning: KsmSysfs) -> None:
    with Arena(NPAGES, shared=True) as arena:
        arena.fill(content.equal(NPAGES))
        area.register(arena)
        left_alone(scanning, "shared_vma", NPAGES)
        assert arena.verify() == []


def test_a_file_mapping_though_its_pages_were_written(
    area: Area, scanning: KsmSysfs, tmp_path: Path
) -> None:
    """A private mapping of a file: truncation would take a kernel page for the file's."""
    path = tmp_path / "file"
    path.write_bytes(bytes(NPAGES * PAGE_SIZE))
    with (
        path.open("r+b") as file,
        mmap.mmap(
            file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        ) as mapping,
    ):
        mapping[:] = b"x" * len(mapping)
        buffer = (ctypes.c_char * len(mapping)).from_buffer(mapping)
        area.register(ctypes.addressof(buffer), NPAGES)
        left_alone(scanning, "file", NPAGES)
        area.remove()
        del buffer


def test_device_memory(area: Area, scanning: KsmSysfs) -> None:
    with open("/dev/mem", "rb") as memory:
        address = _mmap(memory.fileno(), 16 * PAGE_SIZE, offset=0xF0000)
        area.register(address, 16)
        scanning.wait_full_scans(2)
        skipped = scanning.skipped()
        assert skipped["io"] + skipped["pfnmap"] == 16
        area.remove()
        libc.unmap(address, 16 * PAGE_SIZE)


def test_hugetlb(area: Area, scanning: KsmSysfs) -> None:
    Path("/proc/sys/vm/nr_hugepages").write_text("2")
    try:
        address = _mmap(-1, 2 << 21, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
        ctypes.memset(address, 3, 2 << 21)
        area.register(address, 1024)
        left_alone(scanning, "hugetlb", 1024)
        area.remove()
        libc.unmap(address, 2 << 21)
    finally:
        Path("/proc/sys/vm/nr_hugepages").write_text("0")


def _mmap(fd: int, length: int, flags: int = mmap.MAP_SHARED, offset: int = 0) -> int:
    call = _libc.mmap
    call.restype = ctypes.c_void_p
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if fd < 0 else 0)
    address = call(None, ctypes.c_size_t(length), prot, flags, fd, ctypes.c_long(offset))
    assert address != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
    return int(address)


def test_the_zero_page(area: Area, scanning: KsmSysfs) -> None:
    with Arena(NPAGES, huge=False) as arena:
        for page in range(NPAGES):
            bytes(arena.page_view(page))
        area.register(arena)
        left_alone(scanning, "zero_page", NPAGES)


def test_the_huge_zero_page(area: Area, scanning: KsmSysfs) -> None:
    with Arena(512, huge=True) as arena:
        bytes(arena.page_view(0))
        area.register(arena)
        left_alone(scanning, "zero_page", 512)


def test_a_range_that_userfaultfd_watches(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    fd = _libc.syscall(323, os.O_CLOEXEC)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    try:
        api = (ctypes.c_uint64 * 3)(0xAA, 0, 0)
        assert _libc.ioctl(fd, ctypes.c_ulong(0xC018AA3F), api) == 0
        register = (ctypes.c_uint64 * 4)(arena.address, arena.size, 1, 0)
        assert _libc.ioctl(fd, ctypes.c_ulong(0xC020AA00), register) == 0
        area.register(arena)
        left_alone(scanning, "uffd", NPAGES)
    finally:
        os.close(fd)
    all_merged(scanning)


def test_pages_that_are_merged_stay_so_when_userfaultfd_comes(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    area.register(arena)
    all_merged(scanning)
    fd = _libc.syscall(323, os.O_CLOEXEC)
    assert fd >= 0
    try:
        api = (ctypes.c_uint64 * 3)(0xAA, 0, 0)
        assert _libc.ioctl(fd, ctypes.c_ulong(0xC018AA3F), api) == 0
        register = (ctypes.c_uint64 * 4)(arena.address, arena.size, 1, 0)
        assert _libc.ioctl(fd, ctypes.c_ulong(0xC020AA00), register) == 0
        scanning.wait_full_scans(2)
        assert scanning.pages_shared == NPAGES - 1
        area.remove()
        assert pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)) == NPAGES
    finally:
        os.close(fd)
    assert arena.verify() == []


def test_swapped_pages_stay_in_swap(
    area: Area, arena: Arena, scanning: KsmSysfs, tmp_path: Path
) -> None:
    with swap(tmp_path):
        arena.advise(MADV_PAGEOUT)
        swapped = sum(entry.swapped for entry in pagemap.entries(None, arena.address, NPAGES))
        assert swapped > NPAGES // 2
        area.register(arena)
        scanning.wait_full_scans(3)
        now = pagemap.entries(None, arena.address, NPAGES)
        assert sum(entry.swapped for entry in now) == swapped
        assert scanning.skipped()["swapped"] == swapped
        # Read back in, they are in the swap cache as well, and merge all the same.
        assert arena.verify() == []
        all_merged(scanning)
        assert arena.verify() == []


def test_merged_pages_are_not_swapped_out(
    area: Area, arena: Arena, scanning: KsmSysfs, tmp_path: Path
) -> None:
    with swap(tmp_path):
        area.register(arena)
        all_merged(scanning)
        arena.advise(MADV_PAGEOUT)
        entries = pagemap.entries(None, arena.address, NPAGES)
        assert all(entry.present for entry in entries)
        assert len({entry.pfn for entry in entries}) == 1
        assert arena.verify() == []


def test_pages_of_the_kernels_own_ksm(kernel_ksm: Path, area: Area, scanning: KsmSysfs) -> None:
    """Beside ours, in the same region: theirs are left alone, and ours are not theirs."""
    with Arena(2 * NPAGES, huge=False) as arena:
        arena.fill(content.equal(2 * NPAGES))
        arena.advise(mmap.MADV_MERGEABLE, 0, NPAGES)
        deadline = time.monotonic() + 60
        while pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)) > 1:
            assert time.monotonic() < deadline, "the kernel's KSM does not merge"
            time.sleep(0.05)
        (kernel_ksm / "run").write_text("0")
        theirs = set(pagemap.frames(None, arena.address, NPAGES))
        assert all(PageFlag.KSM in flags for flags in pagemap.page_flags(theirs).values())

        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == NPAGES - 1, 60, "our half shared")
        scanning.wait_full_scans(2)
        assert set(pagemap.frames(None, arena.address, NPAGES)) == theirs
        assert scanning.skipped()["kernel_ksm"] == NPAGES
        ours = set(pagemap.frames(None, arena.page_address(NPAGES), NPAGES))
        assert len(ours) == 1
        assert ours != theirs
        assert arena.verify() == []
        (kernel_ksm / "run").write_text("2")
        assert arena.verify() == []
        all_merged(scanning, 2 * NPAGES)


def test_both_at_once_on_the_same_pages(kernel_ksm: Path, area: Area, scanning: KsmSysfs) -> None:
    with Arena(1024, huge=False) as arena:
        arena.advise(mmap.MADV_MERGEABLE)
        area.register(arena)
        for turn in range(1, 6):
            arena.fill(content.groups(1024, 4, first=turn * 1000))
            scanning.wait_full_scans(2)
            assert arena.verify() == []
            arena.fill(content.unique(512, first=turn * 5000))
        assert arena.verify() == []


# What may change under the scan.


def test_mlocked_pages_merge_and_stay_in_memory(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    arena.lock()
    area.register(arena)
    all_merged(scanning)
    arena.fill(content.unique(NPAGES))
    assert all(entry.present for entry in pagemap.entries(None, arena.address, NPAGES))
    arena.unlock()
    assert arena.verify() == []


def test_mlock_of_merged_pages(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    area.register(arena)
    all_merged(scanning)
    arena.lock()
    arena.unlock()
    assert arena.verify() == []
    area.remove()
    assert arena.verify() == []


def test_munmap_of_merged_pages(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    area.register(arena)
    all_merged(scanning)
    arena.unmap(0, NPAGES // 2)
    all_merged(scanning, NPAGES // 2)
    arena.unmap(NPAGES // 2, NPAGES // 2 - 1)
    scanning.wait_until(lambda s: s.pages_shared == 0, 60, "one page left")
    arena.unmap(NPAGES - 1, 1)
    scanning.wait_until(lambda s: s.kernel_pages_allocated == 0, 60, "the node dropped")


def test_madv_dontneed_of_merged_pages(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    area.register(arena)
    all_merged(scanning)
    arena.discard(0, NPAGES // 2)
    assert arena.verify() == []
    all_merged(scanning, NPAGES // 2)
    arena.fill(content.equal(NPAGES // 2))
    all_merged(scanning)
    assert arena.verify() == []


def test_mremap_within_the_region_and_out_of_it(area: Area, scanning: KsmSysfs) -> None:
    with Arena(NPAGES, huge=False) as arena:
        arena.fill(content.equal(NPAGES))
        area.register(arena)
        all_merged(scanning)
        frame = pagemap.entry(arena.address).pfn
        arena.move()
        assert set(pagemap.frames(None, arena.address, NPAGES)) == {frame}
        assert arena.verify() == []
        # The old range holds nothing, the new one is no region: nothing is shared, by the book.
        scanning.wait_until(lambda s: s.pages_shared == 0, 60, "nothing shared")
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == NPAGES - 1, 60, "taken up where it is")
        assert set(pagemap.frames(None, arena.address, NPAGES)) == {frame}
        area.remove()
        assert pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)) == NPAGES


def test_merged_pages_that_the_scan_has_not_met_are_unmerged_too(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    """They came by mremap, into a region that is removed before kksmd gets there."""
    area.register(arena)
    all_merged(scanning)
    scanning.run = 0
    arena.move()
    with KsmDevice() as device, device.create_area() as second:
        second.register(arena)
        second.remove()
        assert pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)) == NPAGES
    assert arena.verify() == []


def test_mprotect_while_scanning(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    area.register(arena)
    for prot in (mmap.PROT_READ, libc.PROT_NONE, mmap.PROT_READ | mmap.PROT_WRITE) * 3:
        arena.protect(prot)
        scanning.wait_full_scans(1)
    all_merged(scanning)
    arena.protect(mmap.PROT_READ)
    area.remove()
    # A mapping that cannot be written gets its own copies all the same.
    assert pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)) == NPAGES
    assert arena.verify() == []


def test_everything_at_once_while_scanning(area: Area, scanning: KsmSysfs) -> None:
    """Ten seconds of mapping, unmapping, moving, protecting, dropping; content checked."""
    end = time.monotonic() + 10
    failures: list[str] = []

    def churn(seed: int) -> None:
        turn = 0
        while time.monotonic() < end and not failures:
            turn += 1
            with KsmDevice() as device, device.create_area() as own, Arena(128, seed=1) as arena:
                arena.fill(content.cycle(128, 7))
                try:
                    own.register(arena)
                except RegisterError as error:
                    # Where another thread's arena was before its move, its region is still.
                    if error.errno == errno.EEXIST:
                        continue
                    raise
                arena.protect(mmap.PROT_READ, 0, 32)
                arena.protect(mmap.PROT_READ | mmap.PROT_WRITE, 0, 32)
                arena.discard(32, 32)
                arena.fill(content.cycle(32, 5, first=turn), 32)
                if arena.verify():
                    failures.append(f"thread {seed} turn {turn} before the move")
                arena.move()
                arena.write(3, b"mine")
                if arena.verify():
                    failures.append(f"thread {seed} turn {turn} after the move")
                arena.unmap(64, 32)
                if arena.verify():
                    failures.append(f"thread {seed} turn {turn} after the unmap")

    threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert scanning.pages_shared == 0


def test_a_hole_of_1_tib_costs_less_than_a_second(area: Area, scanning: KsmSysfs) -> None:
    """Both kinds: no mapping at all, and a mapping that was never touched."""
    tib = 1 << 40
    _, limit = resource.getrlimit(resource.RLIMIT_AS)
    assert limit == resource.RLIM_INFINITY
    Path("/proc/sys/vm/overcommit_memory").write_text("1")
    address = libc.map_anonymous(3 * tib, noreserve=True)
    libc.unmap(address, tib)
    libc.advise(address + tib, 2 * tib, mmap.MADV_NOHUGEPAGE)
    try:
        ends = (address + tib, address + 3 * tib - PAGE_SIZE)
        for at in ends:
            ctypes.memset(at, 5, PAGE_SIZE)
        area.register(address, 3 * tib // PAGE_SIZE)
        began = kksmd_runtime()
        passes = scanning.full_scans
        scanning.wait_full_scans(3)
        cost = (kksmd_runtime() - began) / (scanning.full_scans - passes)
        assert cost < 1.0
        assert scanning.pages_shared == 1
        assert pagemap.entry(ends[0]).pfn == pagemap.entry(ends[1]).pfn
    finally:
        area.remove()
        libc.unmap(address + tib, 2 * tib)


def test_fork_before_the_merge(scanning: KsmSysfs, arena: Arena) -> None:
    """Parent and child share anonymous pages already; both are registered."""

    def body(connection: Connection) -> None:
        with KsmDevice() as device, device.create_area() as own:
            own.register(arena)
            connection.send("registered")
            connection.recv()
            arena.fill(content.unique(NPAGES // 2, first=5000))
            connection.send(arena.verify())
            connection.recv()

    with KsmDevice() as device, device.create_area() as area, child(body) as process:
        area.register(arena)
        process.receive()
        scanning.wait_until(lambda s: s.pages_shared == 2 * NPAGES - 1, 60, "all shared")
        ours = set(pagemap.frames(None, arena.address, NPAGES))
        assert ours == set(pagemap.frames(process.pid, arena.address, NPAGES))
        assert process.ask() == []
        assert arena.verify() == []
        arena.fill(content.unique(NPAGES, first=9000))
        assert arena.verify() == []


def test_fork_after_the_merge(scanning: KsmSysfs, arena: Arena) -> None:
    """The child maps the kernel page, is not registered, and outlives the area."""
    wanted = arena.expected(0)

    def body(connection: Connection) -> None:
        while connection.recv() != "end":
            connection.send(arena.verify())
        arena.write(1, b"the child's own")
        connection.send(arena.verify())

    with KsmDevice() as device, device.create_area() as area:
        area.register(arena)
        all_merged(scanning)
        with child(body) as process:
            assert process.ask("verify") == []
            arena.fill(content.unique(NPAGES, first=100))
            assert process.ask("verify") == []
            area.remove()
            # Only the child maps the kernel page now: it is still there, and in the books.
            frames = pagemap.frames(process.pid, arena.address, NPAGES)
            assert len(set(frames)) == 1
            assert scanning.kernel_pages_allocated == 1
            assert process.ask("verify") == []
            assert process.ask("end") == []
    assert arena.verify() == []
    assert wanted != arena.expected(0)


def test_the_child_of_a_fork_registers_what_it_inherited(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    area.register(arena)
    all_merged(scanning)

    def body(connection: Connection) -> None:
        with KsmDevice() as device, device.create_area() as own:
            own.register(arena)
            connection.send("registered")
            connection.recv()
            own.remove()
            connection.send(pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)))
            connection.recv()

    with child(body) as process:
        process.receive()
        scanning.wait_until(lambda s: s.pages_shared == 2 * NPAGES - 1, 60, "both counted")
        assert process.ask() == NPAGES
        assert scanning.pages_shared == NPAGES - 1
