"""Rules 6 and 8: who holds what, and for how long."""

from __future__ import annotations

import array
import ctypes
import mmap
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import kksmd
import pytest
from children import child
from equal import shares
from kernel_config import built_with
from leaks import unaccounted_pages
from modules import MM_KSM, kernel_has_ksm, kernels_own_ksm

from ksmlab import content, libc, pagemap
from ksmlab.device import Area, KsmDevice
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena
from ksmlab.pagemap import PageFlag
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from modules import Modules

NPAGES = 512
HUGE_SIZE = 2 << 20
#: Different contents of these pages. Fewer pages than max_page_sharing have the same one.
KINDS = 8
#: The number of readings of the free memory, and the number of attempts before a loss is an error.
LOOKS, TRIES = 3, 3


@pytest.fixture
def unloaded(modules: Modules) -> Iterator[Modules]:
    """Unload the driver for the test, and load it again with the parameters of all other tests."""
    with modules.without():
        yield modules


def merged_worker(connection: Connection) -> None:
    """Register equal pages, and wait for the end."""
    with KsmDevice() as device, device.create_area() as area, Arena(NPAGES) as arena:
        arena.fill(content.cycle(NPAGES, KINDS))
        area.register(arena)
        connection.send(arena.address)
        connection.recv()


def nothing_left(ksm: KsmSysfs) -> None:
    ksm.wait_until(
        lambda s: s.kernel_pages_allocated == 0 and s.pages_shared == 0, 60, "nothing left"
    )


def test_kill_9_with_areas_open(scanning: KsmSysfs) -> None:
    with child(merged_worker) as process:
        process.receive()
        scanning.wait_until(lambda s: s.pages_shared == NPAGES - KINDS, 60, "all shared")
        process.kill()
        nothing_left(scanning)


def test_kill_9_while_pages_merge(scanning: KsmSysfs) -> None:
    for turn in range(10):
        with child(merged_worker) as process:
            process.receive()
            scanning.wait_until(partial(shares, turn * 40), 60, "some shared")
            process.kill()
    nothing_left(scanning)


def test_exec_with_areas_open(scanning: KsmSysfs) -> None:
    """The descriptor closes, and nothing of the old memory is held."""
    out, into = os.pipe()
    os.set_inheritable(into, True)

    def body(connection: Connection) -> None:
        device = KsmDevice()
        area = device.create_area()
        arena = Arena(NPAGES)
        arena.fill(content.cycle(NPAGES, KINDS))
        area.register(arena)
        connection.send("registered")
        connection.recv()
        script = f"import os, signal; os.write({into}, b'running'); signal.pause()"
        os.execv(sys.executable, [sys.executable, "-c", script])

    with child(body) as process:
        process.receive()
        scanning.wait_until(lambda s: s.pages_shared == NPAGES - KINDS, 60, "all shared")
        process.send("go on")
        assert os.read(out, 4096) == b"running"
        nothing_left(scanning)
        links = [os.readlink(fd) for fd in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert not any("ksm" in link for link in links)
    os.close(out)
    os.close(into)


def test_the_descriptor_passed_to_another_process(scanning: KsmSysfs) -> None:
    """The area lives with the descriptor, the region with the mm that registered it."""
    ours, theirs = socket.socketpair()

    def body(connection: Connection) -> None:
        device = KsmDevice()
        area = device.create_area()
        arena = Arena(NPAGES)
        arena.fill(content.cycle(NPAGES, KINDS))
        area.register(arena)
        fds = array.array("i", [area.fileno()])
        theirs.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        area.close()
        connection.send(arena.address)
        connection.recv()
        connection.send(arena.verify())
        connection.recv()

    with child(body) as process, Arena(NPAGES) as arena:
        address = process.receive()
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_LEN(4))
        fd = array.array("i", ancillary[0][2])[0]
        scanning.wait_until(lambda s: s.pages_shared == NPAGES - KINDS, 60, "all shared")

        # What this process registers on it is its own memory.
        arena.fill(content.cycle(NPAGES, KINDS))
        area = Area(fd)
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 2 * NPAGES - KINDS, 60, "both shared")
        assert process.ask() == []

        process.kill()
        # Its region goes with it, though the descriptor is open here.
        scanning.wait_until(lambda s: s.pages_shared == NPAGES - KINDS, 60, "ours alone")
        assert arena.verify() == []
        area.close()
    assert address
    ours.close()
    theirs.close()
    nothing_left(scanning)


def merge_pairs(ksm: KsmSysfs, pairs: int) -> None:
    """Have kksmd, which otherwise sleeps, scan until all pairs are merged.

    Fresh pages are held by per-CPU batches, so that may take more than one pass.
    """
    for _ in range(8):
        kksmd.one_batch(ksm)
        if ksm.pages_shared == pairs:
            return
    pytest.fail(f"not merged after 8 passes: {ksm.counters()}")


def test_content_of_kernel_pages_that_were_freed_merges_again(scanning: KsmSysfs) -> None:
    """A scan reaches the new pages before the old addresses, so the nodes of freed pages are still in the index."""
    pairs = NPAGES // 2
    with (
        KsmDevice() as device,
        device.create_area() as area,
        Arena(NPAGES, huge=False) as first,
        Arena(NPAGES, huge=False) as second,
        scanning.settings(sleep=kksmd.LONG),
    ):
        # Scanned in this order.
        area.register(first)
        area.register(second)
        for turn in range(8):
            contents = content.groups(NPAGES, 2, first=(turn + 1) << 32)
            second.fill(contents)
            merge_pairs(scanning, pairs)
            second.discard()
            first.fill(contents)
            merge_pairs(scanning, pairs)
            assert first.verify() == []
            first.discard()


def test_register_while_another_process_removes(scanning: KsmSysfs) -> None:
    """Each takes the lock of the area and the one of the driver: neither waits for ever."""
    npages, kinds = 8 * NPAGES, 8 * KINDS
    with (
        KsmDevice() as device,
        device.create_area() as area,
        Arena(npages, huge=False) as arena,
        Arena(64) as other,
    ):
        arena.fill(content.cycle(npages, kinds))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == npages - kinds, 60, "all shared")

        def body(connection: Connection) -> None:
            connection.send("here")
            connection.recv()
            area.remove()
            connection.send("removed")
            connection.recv()

        with child(body) as process:
            process.receive()
            process.send("go")
            for page in range(64):
                area.register(other.page_address(page), 1)
            assert process.receive() == "removed"
        # What was registered first may have been removed with the rest.
        area.remove()
        area.register(other)
        assert arena.verify() == []


def items_size(chunks: int) -> int:
    """Return the size of the items of some chunks, in bytes."""
    return chunks * 512 * (16 if kksmd.finds_by_hash() else 32)


@contextmanager
def sparse(chunks: int, pages: int) -> Iterator[int]:
    """Map memory in which only the first pages of every 2 MiB are present, and return its address."""
    address = libc.map_anonymous(chunks * HUGE_SIZE, noreserve=True)
    libc.advise(address, chunks * HUGE_SIZE, mmap.MADV_NOHUGEPAGE)
    for start in range(address, address + chunks * HUGE_SIZE, HUGE_SIZE):
        for page in range(start, start + pages * PAGE_SIZE, PAGE_SIZE):
            ctypes.c_uint64.from_address(page).value = page
    yield address
    libc.unmap(address, chunks * HUGE_SIZE)


@pytest.mark.parametrize("pages", [1, 2, 4, 8])
def test_close_while_the_region_of_a_dead_process_is_freed(scanning: KsmSysfs, pages: int) -> None:
    """The two regions are neighbours in the list of all regions, and different threads free them.

    Freeing a region with many chunks takes long. The numbers of pages are different, so that each of the two threads
    ends first in some runs. A debug kernel reports a use of the freed region.
    """
    chunks = 700

    def body(connection: Connection) -> None:
        with KsmDevice() as device, device.create_area() as area, sparse(chunks, 2) as address:
            area.register(address, chunks * HUGE_SIZE // PAGE_SIZE)
            connection.send("registered")
            connection.recv()

    before = scanning.read("metadata_bytes")
    with child(body) as process, KsmDevice() as device, sparse(chunks, pages) as address:
        area = device.create_area()
        process.receive()
        area.register(address, chunks * HUGE_SIZE // PAGE_SIZE)
        full = before + items_size(2 * chunks)
        scanning.wait_until(lambda s: s.read("metadata_bytes") >= full, 60, "all chunks")
        closer = threading.Thread(target=area.close)
        closer.start()
        scanning.wait_until(lambda s: s.read("metadata_bytes") < full, 60, "close() to free chunks")
        process.kill()
        closer.join()
    # The index may keep a larger array for its buckets.
    scanning.wait_until(
        lambda s: s.read("metadata_bytes") <= before + PAGE_SIZE, 60, "the metadata to be freed"
    )


@contextmanager
def one_cpu() -> Iterator[None]:
    """Take CPU 1 offline, so that all threads share CPU 0, and none runs for more than a few milliseconds at a time."""
    online = Path("/sys/devices/system/cpu/cpu1/online")
    online.write_text("0")
    try:
        yield
    finally:
        online.write_text("1")


def test_close_does_not_wait_until_the_reaper_has_freed_a_region(scanning: KsmSysfs) -> None:
    """The reaper frees the region of a dead process, and examines the region of this process next."""
    # With KASAN, each step of the test takes much longer.
    chunks = 2048 if built_with("CONFIG_KASAN") else 16384
    before = scanning.read("metadata_bytes")
    full = before + items_size(chunks)
    with KsmDevice() as device, device.create_area() as theirs, Arena(1) as arena:

        def body(connection: Connection) -> None:
            with sparse(chunks, 1) as address:
                theirs.register(address, chunks * HUGE_SIZE // PAGE_SIZE)
                connection.send("registered")
                connection.recv()

        with child(body) as process, device.create_area() as area, one_cpu():
            process.receive()
            scanning.wait_until(lambda s: s.read("metadata_bytes") >= full, 120, "all chunks")
            scanning.run = 0
            area.register(arena)
            os.kill(process.pid, signal.SIGKILL)
            scanning.wait_until(
                lambda s: s.read("metadata_bytes") < full, 60, "the reaper to free chunks", 0
            )
            area.close()
            assert scanning.read("metadata_bytes") > before + (full - before) // 4


def test_private_pages_of_a_dead_process_are_free_at_once(scanning: KsmSysfs) -> None:
    """The pages are freed without a scan or a close, although another process has the descriptor open."""

    def body(connection: Connection) -> None:
        with Arena(NPAGES, huge=False) as arena:
            arena.fill(content.unique(NPAGES))
            area.register(arena)
            connection.send(arena.address)
            connection.recv()

    with (
        scanning.settings(run=0),
        KsmDevice() as device,
        device.create_area() as area,
        child(body) as process,
    ):
        frames = pagemap.frames(process.pid, process.receive(), NPAGES)
        assert set(pagemap.map_counts(frames).values()) == {1}
        process.kill()
        freed = [
            flags for flags in pagemap.page_flags(frames).values() if PageFlag.ANON not in flags
        ]
        assert len(freed) > NPAGES * 9 // 10


def test_kernel_pages_and_metadata_of_a_dead_process_are_freed_when_run_is_0(
    scanning: KsmSysfs,
) -> None:
    """Another process keeps the area open, and no scanner runs that could free the region."""
    pairs = NPAGES // 2

    def body(connection: Connection) -> None:
        with Arena(NPAGES, huge=False) as arena:
            arena.fill(content.groups(NPAGES, 2))
            area.register(arena)
            connection.send(arena.address)
            connection.recv()

    before = scanning.read("metadata_bytes")
    with KsmDevice() as device, device.create_area() as area, child(body) as process:
        process.receive()
        scanning.wait_until(lambda s: s.pages_shared == pairs, 60, f"{pairs} pairs to merge")
        with scanning.settings(run=0):
            # Each page has an item of at least 16 bytes.
            assert scanning.read("metadata_bytes") > before + 16 * NPAGES
            process.kill()
            scanning.wait_until(
                lambda s: (
                    s.kernel_pages_allocated == 0
                    and s.pages_shared == 0
                    and s.read("metadata_bytes") <= before + 16 * NPAGES
                ),
                1,
                "the kernel pages and the metadata to be freed",
            )


@pytest.mark.parametrize("run", [0, 1])
def test_kernel_pages_are_freed_within_a_second_of_the_end_of_their_mappings(
    scanning: KsmSysfs, run: int
) -> None:
    """With run=1 the scanner sleeps, so it does not free the nodes either."""
    with (
        KsmDevice() as device,
        device.create_area() as area,
        Arena(NPAGES, huge=False) as arena,
    ):
        arena.fill(content.groups(NPAGES, 2))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == NPAGES // 2, 60, "all pairs to merge")
        with scanning.settings(run=run, sleep=kksmd.LONG):
            arena.discard()
            scanning.wait_until(
                lambda s: s.kernel_pages_allocated == 0, 1, "the kernel pages to be freed"
            )


def test_kernel_pages_are_freed_without_a_scan_if_the_descriptor_dies_with_the_process(
    scanning: KsmSysfs,
) -> None:
    with child(merged_worker) as process:
        scanning.wait_until(lambda s: s.pages_shared == NPAGES - KINDS, 60, "all pages to merge")
        with scanning.settings(run=0):
            process.kill()
            scanning.wait_until(lambda s: s.kernel_pages_allocated == 0, 60, "the area to end")


def test_no_unload_while_an_area_is_open(unloaded: Modules) -> None:
    """The device may be closed: it is the area that holds the module."""
    unloaded.load_usual("ksm")
    with KsmDevice() as device:
        area = device.create_area()
    with area, pytest.raises(RuntimeError, match="in use"):
        unloaded.unload_all()
    assert unloaded.loaded() == ["ksm"]
    unloaded.unload_all()


def test_a_kernel_page_outlives_the_module(unloaded: Modules) -> None:
    """A child that maps it goes on reading it when the driver is gone."""
    unloaded.load_usual("ksm")
    ksm = KsmSysfs.find()
    with Arena(NPAGES) as arena, ExitStack() as stack:
        arena.fill(content.cycle(NPAGES, KINDS))
        with KsmDevice() as device, device.create_area() as area:
            area.register(arena)
            with ksm.settings(run=1, sleep=1000):
                ksm.wait_until(lambda s: s.pages_shared == NPAGES - KINDS, 60, "all shared")

            def body(connection: Connection) -> None:
                # The copies of a fork would keep the area, and with it the module.
                area.close()
                device.close()
                connection.send("closed")
                connection.recv()
                connection.send(arena.verify())
                connection.recv()

            process = stack.enter_context(child(body))
            process.receive()
        assert len(set(pagemap.frames(process.pid, arena.address, NPAGES))) == KINDS
        unloaded.unload_all()
        assert unloaded.loaded() == []
        assert len(set(pagemap.frames(process.pid, arena.address, NPAGES))) == KINDS
        assert process.ask() == []


@pytest.fixture
def theirs(unloaded: Modules) -> Path:
    """Return the directory of the kernel's own KSM while our driver is not loaded."""
    return kernels_own_ksm()


def test_sysfs_auto_leaves_the_kernels_own_alone(unloaded: Modules, theirs: Path) -> None:
    files = set(os.listdir(theirs))
    assert "merge_across_nodes" in files
    unloaded.load("ksm", "sysfs=auto")
    assert KsmSysfs.find().directory == Path("/sys/kernel/mm/ksm_dev")
    assert set(os.listdir(theirs)) == files
    unloaded.unload_all()
    assert not Path("/sys/kernel/mm/ksm_dev").exists()


def test_takeover_gives_back_what_it_took(unloaded: Modules, theirs: Path) -> None:
    files = set(os.listdir(theirs))
    unloaded.load("ksm", "sysfs=takeover")
    assert KsmSysfs.find().directory == theirs
    assert "merge_across_nodes" not in os.listdir(theirs)
    unloaded.unload_all()
    assert set(os.listdir(theirs)) == files
    (theirs / "run").write_text("0")


def test_takeover_refuses_while_the_kernels_own_runs(unloaded: Modules, theirs: Path) -> None:
    run = theirs / "run"
    run.write_text("1")
    try:
        with pytest.raises(RuntimeError, match=r"busy"):
            unloaded.load("ksm", "sysfs=takeover")
        assert unloaded.loaded() == []
        assert run.read_text() == "1\n"
    finally:
        run.write_text("0")


@pytest.mark.parametrize("mode", ["auto", "takeover"])
def test_a_free_name_is_taken_and_left_free(unloaded: Modules, mode: str) -> None:
    """As in 2009: with no KSM in the kernel the driver takes over and returns nothing."""
    if kernel_has_ksm():
        pytest.skip("this kernel has a KSM of its own, which has the name")
    assert not MM_KSM.exists()
    unloaded.load("ksm", f"sysfs={mode}")
    ksm = KsmSysfs.find()
    assert ksm.directory == MM_KSM
    with KsmDevice() as device, device.create_area() as area, Arena(NPAGES) as arena:
        arena.fill(content.cycle(NPAGES, KINDS))
        area.register(arena)
        with ksm.settings(run=1, sleep=500, pages_to_scan=2000):
            ksm.wait_until(lambda s: s.pages_shared == NPAGES - KINDS, 60, "all shared")
    unloaded.unload_all()
    assert not MM_KSM.exists()


@pytest.mark.parametrize("parameter", ["sysfs=takeoff", "sysfs_dir=ksm", "index=heap"])
def test_a_parameter_that_cannot_be_is_refused(unloaded: Modules, parameter: str) -> None:
    with pytest.raises(RuntimeError, match=r"[Ii]nvalid"):
        unloaded.load("ksm", parameter)
    assert unloaded.loaded() == []
    assert not Path("/dev/ksm").exists()


def used_and_slab() -> tuple[int, int]:
    """Return the memory that is in use, and the slab of it, in KiB, after giving back what is only cached.

    Neither MemFree nor what each CPU has set aside of it (zoneinfo) is in use. Of several looks the
    least counts: what is used for a moment is not lost.
    """
    looks = [_used_and_slab() for _ in range(LOOKS)]
    return min(used for used, _ in looks), min(slab for _, slab in looks)


def _used_and_slab() -> tuple[int, int]:
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    Path("/proc/sys/vm/stat_refresh").write_text("1")
    values = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text()))
    aside = re.findall(r"^ +count: +(\d+)", Path("/proc/zoneinfo").read_text(), re.MULTILINE)
    assert aside
    free = int(values["MemFree"]) + 4 * sum(map(int, aside))
    return int(values["MemTotal"]) - free, int(values["SUnreclaim"])


def cycle(modules: Modules) -> None:
    """Load, merge, unload."""
    modules.load_usual("ksm")
    ksm = KsmSysfs.find()
    with KsmDevice() as device, device.create_area() as area, Arena(NPAGES) as arena:
        arena.fill(content.groups(NPAGES, 2))
        area.register(arena)
        with ksm.settings(run=1, sleep=500, pages_to_scan=2000):
            ksm.wait_until(lambda s: s.pages_shared == NPAGES // 2, 60, "half shared")
        assert arena.verify() == []
    modules.unload_all()


@pytest.mark.vm_deadline(1200)
def test_100_cycles_lose_no_memory(unloaded: Modules) -> None:
    """A cycle has 512 pages, 256 nodes and 16 KiB of items: what each lost would show."""
    # KASAN keeps objects that were freed for a while: kmemleak knows which are lost. And it is slow.
    slow = built_with("CONFIG_KASAN")
    look = (lambda: (4 * unaccounted_pages(),)) if slow else used_and_slab
    cycles = 20 if slow else 100
    for _ in range(cycles // 10):
        cycle(unloaded)
    seen = [look()]
    # The system itself breathes, too; what each cycle loses, it loses every time.
    for _ in range(TRIES):
        for _ in range(cycles):
            cycle(unloaded)
        seen.append(look())
        # One page a cycle would be 4 KiB.
        if all(now - before < 3 * cycles for before, now in zip(*seen[-2:], strict=True)):
            return
    pytest.fail(f"each {cycles} cycles lose memory: {seen} KiB")
