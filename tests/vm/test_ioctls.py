"""The four ioctls: what they take, what they refuse, and that a refusal changes nothing."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import random
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from children import child

from ksmlab import abi, content, libc, pagemap
from ksmlab.device import KsmDevice, RegisterError
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena
from ksmlab.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

#: Of x86-64: with five levels of page tables, or with four.
ADDRESS_BITS = 56 if "la57" in Path("/proc/cpuinfo").read_text().split() else 47
TASK_SIZE = (1 << ADDRESS_BITS) - PAGE_SIZE


@pytest.fixture
def arena() -> Iterator[Arena]:
    with Arena(64) as arena:
        yield arena


def fdinfo(area: Area) -> dict[str, int]:
    with open(f"/proc/self/fdinfo/{area.fileno()}") as lines:
        pairs = (line.split(":") for line in lines if line.startswith("ksm-"))
        return {name: int(value) for name, value in pairs}


def refused(area: Area, addr: int, npages: int) -> int:
    before = fdinfo(area)
    with pytest.raises(RegisterError) as caught:
        area.register(addr, npages)
    assert fdinfo(area) == before
    assert caught.value.errno is not None
    return caught.value.errno


def test_the_device_is_for_root_alone() -> None:
    mode = os.stat("/dev/ksm").st_mode
    assert stat.S_ISCHR(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_api_version() -> None:
    with KsmDevice() as device:
        assert device.api_version() == 1
        assert fcntl.ioctl(device.fileno(), 0xAB00) == 1


def test_unknown_ioctls_are_enotty(area: Area) -> None:
    with KsmDevice() as device:
        for fd, number in [
            (device.fileno(), 0xAB02),
            (device.fileno(), 0x4018AB20),
            (device.fileno(), 0xAB21),
            (area.fileno(), 0xAB00),
            (area.fileno(), 0xAB01),
            (area.fileno(), 0xAB22),
            (area.fileno(), 0x4020AB20),
        ]:
            with pytest.raises(OSError) as caught:
                fcntl.ioctl(fd, number, 0)
            assert caught.value.errno == errno.ENOTTY, hex(number)


def test_an_area_is_close_on_exec(area: Area) -> None:
    assert fcntl.fcntl(area.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_both_sizes_of_the_structure(area: Area, arena: Arena) -> None:
    area.register(arena.address, 2)
    area.register_v16(arena.address + 2 * PAGE_SIZE, 3)
    assert fdinfo(area) == {"ksm-regions": 2, "ksm-pages": 5, "ksm-merged": 0}


def test_pad_and_reserved_bits_are_ignored(area: Area, arena: Arena) -> None:
    region = abi.MemoryRegion(
        npages=4, pad=0xDEADBEEF, addr=arena.address, reserved_bits=(1 << 64) - 1
    )
    assert fcntl.ioctl(area.fileno(), 0x4018AB20, region) == 0
    assert fdinfo(area)["ksm-pages"] == 4


def test_the_structure_is_read_no_further_than_addr(area: Area, arena: Arena) -> None:
    """A program that was built with the short form may have it at the end of a page."""
    with Arena(2) as edge:
        edge.unmap(1, 1)
        region = abi.MemoryRegion(npages=1, addr=arena.address)
        at = edge.address + PAGE_SIZE - 16
        ctypes.memmove(at, ctypes.addressof(region), 16)
        for number, page in ((0x4010AB20, 0), (0x4018AB20, 1)):
            ctypes.c_uint64.from_address(at + 8).value = arena.address + page * PAGE_SIZE
            result = ctypes.CDLL(None, use_errno=True).ioctl(
                area.fileno(), ctypes.c_ulong(number), ctypes.c_void_p(at)
            )
            assert result == 0, os.strerror(ctypes.get_errno())


@pytest.mark.parametrize("number", [0x4018AB20, 0x4010AB20])
@pytest.mark.parametrize(
    # A test has one name, wherever it is collected; where user space ends depends on the CPU.
    "pointer",
    [0, 1, TASK_SIZE, (1 << 64) - 16],
    ids=["null", "one", "past-user-space", "past-all"],
)
def test_a_bad_pointer_is_efault(area: Area, number: int, pointer: int) -> None:
    libc_ioctl = ctypes.CDLL(None, use_errno=True).ioctl
    assert libc_ioctl(area.fileno(), ctypes.c_ulong(number), ctypes.c_void_p(pointer)) == -1
    assert ctypes.get_errno() == errno.EFAULT
    assert fdinfo(area)["ksm-regions"] == 0


def test_no_pages_is_einval(area: Area, arena: Arena) -> None:
    assert refused(area, arena.address, 0) == errno.EINVAL


@pytest.mark.parametrize("offset", [1, 8, PAGE_SIZE - 1])
def test_unaligned_is_einval(area: Area, arena: Arena, offset: int) -> None:
    assert refused(area, arena.address + offset, 1) == errno.EINVAL


@pytest.mark.parametrize(
    ("addr", "npages"),
    [
        ((1 << 64) - PAGE_SIZE, 1),
        ((1 << 64) - PAGE_SIZE, 2),
        ((1 << 64) - (1 << 43), (1 << 32) - 1),
        (TASK_SIZE, 1),
        (TASK_SIZE - PAGE_SIZE, 2),
        (1 << ADDRESS_BITS, 1),
        (0xFFFF888000000000, 1),
    ],
    ids=[
        "last-page-of-all",
        "wraps-to-0",
        "wraps",
        "past-user-space",
        "across-its-end",
        "non-canonical",
        "the-kernels",
    ],
)
def test_a_range_outside_the_address_space_is_erange(area: Area, addr: int, npages: int) -> None:
    assert refused(area, addr, npages) == errno.ERANGE


def test_the_last_page_of_the_address_space_is_in_it(area: Area) -> None:
    area.register(TASK_SIZE - PAGE_SIZE, 1)


def test_all_of_npages_is_taken(area: Area) -> None:
    """16 TiB less a page: the count is 32 bits wide, the product with the page size is not."""
    area.register(0, (1 << 32) - 1)
    assert fdinfo(area)["ksm-pages"] == (1 << 32) - 1


@pytest.mark.parametrize(
    ("first", "npages"), [(8, 8), (8, 1), (15, 1), (9, 2), (0, 9), (15, 9), (0, 64)]
)
def test_overlap_is_eexist(area: Area, arena: Arena, first: int, npages: int) -> None:
    area.register(arena.address + 8 * PAGE_SIZE, 8)
    assert refused(area, arena.address + first * PAGE_SIZE, npages) == errno.EEXIST


def test_overlap_with_another_area_is_eexist(area: Area, arena: Arena) -> None:
    with KsmDevice() as device, device.create_area() as other:
        other.register(arena.address, 8)
        assert refused(area, arena.address + 7 * PAGE_SIZE, 2) == errno.EEXIST
    # Closing that one made room.
    area.register(arena.address + 7 * PAGE_SIZE, 2)


def test_neighbours_do_not_overlap(area: Area, arena: Arena) -> None:
    for page in (1, 0, 2):
        area.register(arena.address + page * PAGE_SIZE, 1)
    assert fdinfo(area)["ksm-regions"] == 3


def test_the_same_addresses_of_another_process_are_no_overlap(area: Area, arena: Arena) -> None:
    area.register(arena)

    def body(connection: Connection) -> None:
        with KsmDevice() as device, device.create_area() as own:
            own.register(arena)
            connection.send("registered")
            connection.recv()

    with child(body) as process:
        assert process.receive() == "registered"


def test_1024_regions_and_no_more() -> None:
    with KsmDevice() as device, device.create_area() as area, Arena(2100) as arena:
        for page in range(0, 2048, 2):
            area.register(arena.address + page * PAGE_SIZE, 1)
        assert refused(area, arena.address + 2050 * PAGE_SIZE, 1) == errno.ENOSPC
        with device.create_area() as second:
            second.register(arena.address + 2050 * PAGE_SIZE, 1)
        area.remove()
        area.register(arena.address + 2050 * PAGE_SIZE, 1)
        assert fdinfo(area)["ksm-regions"] == 1


def test_regions_of_the_dead_do_not_fill_an_area(area: Area, arena: Arena) -> None:
    def body(connection: Connection) -> None:
        for page in range(512):
            area.register(0x10000000 + 2 * page * PAGE_SIZE, 1)
        connection.send("registered")
        connection.recv()

    for _ in range(2):
        with child(body) as process:
            assert process.receive() == "registered"
    # This frees all 1024 regions, unless the driver has freed them already.
    area.register(arena)
    deadline = time.monotonic() + patient(60)
    while fdinfo(area)["ksm-regions"] != 1:
        assert time.monotonic() < deadline, "the driver did not free the regions of dead processes"


def test_remove_ignores_its_argument_and_takes_all_regions(area: Area, arena: Arena) -> None:
    area.register(arena.address, 1)
    area.register(arena.address + 2 * PAGE_SIZE, 1)
    assert fcntl.ioctl(area.fileno(), 0xAB21, 12345) == 0
    assert fdinfo(area) == {"ksm-regions": 0, "ksm-pages": 0, "ksm-merged": 0}
    area.remove()


def test_remove_takes_the_regions_of_its_own_area_alone(scanning: KsmSysfs) -> None:
    """v4 removed the first region of the same mm, whosever it was."""
    with KsmDevice() as device, Arena(128) as arena:
        arena.fill(content.equal(128))
        with device.create_area() as first, device.create_area() as second:
            first.register(arena.address, 64)
            second.register(arena.address + 64 * PAGE_SIZE, 64)

            def frames() -> list[int]:
                return pagemap.frames(None, arena.address, 128)

            scanning.wait_until(lambda _: pagemap.distinct(frames()) == 1, 60, "all merged")
            second.remove()
            assert pagemap.distinct(frames()[:64]) == 1
            assert pagemap.distinct(frames()) == 65
            assert fdinfo(first) == {"ksm-regions": 1, "ksm-pages": 64, "ksm-merged": 64}
        assert pagemap.distinct(frames()) == 128
        assert arena.verify() == []


def test_pages_of_a_region_being_removed_do_not_merge(scanning: KsmSysfs) -> None:
    """The scanner finds already unmerged pages equal to pages of another region, and skips them."""
    npages = 64 * 512
    keys = content.unique(npages)
    with (
        # Slow enough that kksmd still has many pages to merge when the removal is done.
        scanning.settings(pages_to_scan=512, sleep=10000),
        KsmDevice() as device,
        device.create_area() as going,
        device.create_area() as staying,
        Arena(npages, huge=False) as first,
        Arena(npages, huge=False) as second,
    ):
        first.fill(keys)
        # The equal pages are in random order: of the pages that kksmd matches, half are unmerged already.
        random.Random(npages).shuffle(keys)
        second.fill(keys)
        going.register(first)
        scanning.wait_full_scans(3)
        staying.register(second)
        # Half of the pages are left for kksmd to merge while the removal unmerges the others.
        scanning.wait_until(lambda s: s.pages_shared > npages // 2, 60, "half of it to merge")
        going.remove()
        mine = pagemap.frames(None, first.address, npages)
        merged = set(mine) & set(pagemap.frames(None, second.address, npages))
        assert not merged, f"{len(merged)} pages of what was removed are merged"
        assert pagemap.distinct(mine) == npages
        assert first.verify() == second.verify() == []


def test_a_region_needs_no_memory_behind_it(area: Area, scanning: KsmSysfs) -> None:
    """Memory that appears in a hole of a region is taken up."""
    with Arena(128) as arena:
        address = arena.address
        arena.unmap(32, 64)
        area.register(address, 128)
        scanning.wait_full_scans(2)
        libc.map_anonymous(64 * PAGE_SIZE, at=address + 32 * PAGE_SIZE)
        ctypes.memset(address, 7, 128 * PAGE_SIZE)
        scanning.wait_until(
            lambda _: pagemap.distinct(pagemap.frames(None, address, 128)) == 1, 60, "one frame"
        )
        area.remove()
        assert pagemap.distinct(pagemap.frames(None, address, 128)) == 128


def test_remove_that_a_signal_interrupts_can_be_called_again(
    area: Area, scanning: KsmSysfs
) -> None:
    """EINTR, with what is left registered and merged as before; and then it ends the job."""
    npages, kinds = 8192, 128
    remove = ctypes.CDLL(None, use_errno=True).ioctl
    with Arena(npages) as arena:
        arena.fill(content.cycle(npages, kinds))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == npages - kinds, 60, "all pages shared")
        old = signal.signal(signal.SIGALRM, lambda *_: None)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            result = remove(area.fileno(), ctypes.c_ulong(0xAB21), 0)
            error = ctypes.get_errno()
            signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, old)
        assert (result, error) == (-1, errno.EINTR)
        info = fdinfo(area)
        assert info["ksm-regions"] == 1
        entries = pagemap.entries(None, arena.address, npages)
        assert any(entry.file for entry in entries)
        assert arena.verify() == []
        area.remove()
        assert fdinfo(area) == {"ksm-regions": 0, "ksm-pages": 0, "ksm-merged": 0}
        assert pagemap.distinct(pagemap.frames(None, arena.address, npages)) == npages
        assert arena.verify() == []
