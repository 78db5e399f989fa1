"""Rules 1 and 2: the driver skips a page that has a reference besides its mappings, and leaves it unchanged."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import threading
from typing import TYPE_CHECKING

import kksmd
from equal import NPAGES, all_merged
from fuse import FuseFile
from kernel_config import need

from ksmlab import content, pagemap
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena
from ksmlab.nbd import SlowDisk

if TYPE_CHECKING:
    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

PINNED = 7
SPLICE_F_GIFT = 8

_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def wait_for_all_but_one(ksm: KsmSysfs, arena: Arena) -> None:
    """Wait until all pages but the pinned one are merged, and that one was seen and skipped."""
    ksm.wait_until(lambda s: s.pages_shared >= NPAGES - 2, 60, "all pages but one to be merged")
    skipped = kksmd.skipped(ksm)["pinned"]
    frames = pagemap.frames(None, arena.address, NPAGES)
    assert frames.count(frames[PINNED]) == 1, "the page that is held is merged"
    assert ksm.pages_shared == NPAGES - 2
    assert skipped == 1


def test_an_o_direct_read_in_flight_reaches_its_page(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    """The device writes to the page after kksmd has scanned it. No byte is lost."""
    data = bytes(range(256)) * (PAGE_SIZE // 256)
    with SlowDisk(16) as disk:
        fd = os.open(disk.path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        result: list[int] = []

        def read() -> None:
            result.append(os.preadv(fd, [arena.page_view(PINNED)], 0))

        reader = threading.Thread(target=read)
        reader.start()
        handle, length = disk.wait_read(30)
        assert length == PAGE_SIZE
        before = pagemap.entry(arena.page_address(PINNED))
        area.register(arena)
        wait_for_all_but_one(scanning, arena)
        # The entry is what it was: same frame, and still writable without a copy.
        assert pagemap.entry(arena.page_address(PINNED)).raw == before.raw
        disk.answer(handle, data)
        reader.join(30)
        os.close(fd)
    assert result == [PAGE_SIZE]
    assert bytes(arena.page_view(PINNED)) == data
    assert arena.verify() == [PINNED]
    # The reference is gone: with equal content again, the page merges.
    arena.write(PINNED, arena.expected(0))
    all_merged(scanning)


def test_vmsplice_keeps_what_was_spliced(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    """A pipe holds the page. What comes out of it is the page, as the owner sees it."""
    out, into = os.pipe()
    try:
        vector = _Iovec(arena.page_address(PINNED), PAGE_SIZE)
        assert _libc.vmsplice(into, ctypes.byref(vector), 1, 0) == PAGE_SIZE
        area.register(arena)
        wait_for_all_but_one(scanning, arena)
        assert os.read(out, PAGE_SIZE) == arena.expected(PINNED)
    finally:
        os.close(out)
        os.close(into)
    all_merged(scanning)
    assert arena.verify() == []


def test_vmsplice_of_a_merged_page_keeps_the_content(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    """The pipe holds the kernel page, and keeps it after all other references are gone."""
    area.register(arena)
    all_merged(scanning)
    wanted = arena.expected(PINNED)
    out, into = os.pipe()
    try:
        vector = _Iovec(arena.page_address(PINNED), PAGE_SIZE)
        assert _libc.vmsplice(into, ctypes.byref(vector), 1, 0) == PAGE_SIZE
        area.remove()
        # The pipe holds a reference to the page until it is read or closed.
        assert scanning.kernel_pages_allocated == 1
        arena.fill(content.equal(NPAGES, key=2))
        assert os.read(out, PAGE_SIZE) == wanted
    finally:
        os.close(out)
        os.close(into)


def test_fuse_does_not_take_over_a_kernel_page(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    """A process passes a kernel page that nothing maps any more to FUSE, as a page of a file.

    If FUSE took over the page itself, the kernel page would get new mappings, and a write to the file would change the
    memory of others.
    """
    need(
        "FUSE", subprocess.run(["modprobe", "fuse"], check=False).returncode == 0, "CONFIG_FUSE_FS"
    )

    def give(pipe: int) -> None:
        vector = _Iovec(arena.page_address(0), PAGE_SIZE)
        assert _libc.vmsplice(pipe, ctypes.byref(vector), 1, SPLICE_F_GIFT) == PAGE_SIZE
        arena.fill(content.unique(NPAGES, first=1000))

    area.register(arena)
    all_merged(scanning)
    kept = arena.expected(0)
    with FuseFile(give) as file, Arena(NPAGES, huge=False) as other:
        descriptor = os.open(file.path, os.O_RDWR)
        try:
            assert os.read(descriptor, PAGE_SIZE) == kept
            other.fill(content.equal(NPAGES))
            area.register(other)
            scanning.wait_until(lambda s: s.pages_shared == NPAGES - 1, 60, "the pages to merge")
            os.pwrite(descriptor, b"changed", 0)
            assert other.verify() == []
        finally:
            os.close(descriptor)
        area.remove()


def test_an_io_uring_buffer_is_left_alone(area: Area, arena: Arena, scanning: KsmSysfs) -> None:
    """A registered buffer is pinned for as long as the ring lives."""
    setup, register, register_buffers = 425, 427, 0
    params = ctypes.create_string_buffer(120)
    ring = _libc.syscall(setup, 4, params)
    assert ring >= 0, os.strerror(ctypes.get_errno())
    try:
        vector = _Iovec(arena.page_address(PINNED), PAGE_SIZE)
        done = _libc.syscall(register, ring, register_buffers, ctypes.byref(vector), 1)
        assert done == 0, os.strerror(ctypes.get_errno())
        frame = pagemap.entry(arena.page_address(PINNED)).pfn
        area.register(arena)
        wait_for_all_but_one(scanning, arena)
        # A write goes to the page that the ring holds, not to a copy.
        arena.write(PINNED, b"the ring sees this")
        assert pagemap.entry(arena.page_address(PINNED)).pfn == frame
    finally:
        os.close(ring)
    assert arena.verify() == []


def test_a_long_term_pin_of_a_merged_page_makes_it_private(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    """A ring that takes a merged page must get one that stays the owner's."""
    area.register(arena)
    all_merged(scanning)
    params = ctypes.create_string_buffer(120)
    ring = _libc.syscall(425, 4, params)
    assert ring >= 0
    try:
        vector = _Iovec(arena.page_address(PINNED), PAGE_SIZE)
        assert _libc.syscall(427, ring, 0, ctypes.byref(vector), 1) == 0
        frame = pagemap.entry(arena.page_address(PINNED)).pfn
        assert pagemap.map_counts([frame])[frame] == 1
        scanning.wait_full_scans(3)
        assert pagemap.entry(arena.page_address(PINNED)).pfn == frame
    finally:
        os.close(ring)


def test_pages_with_a_write_protected_entry_merge(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    """Read-only by mprotect, read-only since a fork: neither is a reference."""
    arena.protect(mmap.PROT_READ, 0, NPAGES // 2)
    area.register(arena)
    all_merged(scanning)
    arena.protect(mmap.PROT_READ | mmap.PROT_WRITE)
    arena.fill(content.unique(NPAGES))
    assert arena.verify() == []
