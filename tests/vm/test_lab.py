"""ksm_lab: each PTE helper on an address of one's own, with the entry before and after."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from ksmlab import content, pagemap
from ksmlab.lab_device import Op, PteLab
from ksmlab.memory import Arena

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

PRESENT, WRITE, ACCESSED, DIRTY = 1 << 0, 1 << 1, 1 << 5, 1 << 6


@pytest.fixture(scope="module")
def lab() -> Iterator[PteLab]:
    with PteLab() as lab:
        yield lab


@pytest.fixture
def arena(area: Area, scanning: KsmSysfs) -> Iterator[Arena]:
    """Eight pages without references besides those of their mappings.

    A new page is in a per-CPU batch, which holds a reference. kksmd drains all such batches at the
    start of a pass, but only if it has met new pages before. So one new page is in a region.
    """
    with Arena(1) as other, Arena(8, huge=False) as arena:
        arena.fill(content.unique(8))
        other.fill(content.unique(1))
        area.register(other)
        scanning.wait_full_scans(2)
        scanning.run = 0
        yield arena


def test_get_pte_changes_nothing(lab: PteLab, arena: Arena) -> None:
    call = lab.call(Op.GET_PTE, arena.address)
    assert call.result == 0
    assert call.before == call.after
    assert call.before & (PRESENT | WRITE) == PRESENT | WRITE
    assert call.before >> 12 & (1 << 40) - 1 == pagemap.entry(arena.address).pfn
    assert call.mapcount == 1


def test_wrprotect_takes_the_write_bit(lab: PteLab, arena: Arena) -> None:
    call = lab.call(Op.WRPROTECT, arena.address)
    assert call.result == 0
    assert call.before & WRITE
    assert not call.after & WRITE
    assert (
        call.before & ~(WRITE | DIRTY) & (1 << 52) - 1
        == call.after & ~DIRTY & ~(1 << 58) & (1 << 52) - 1
    )
    # It is the owner's page still: the next write takes the bit back, with no copy.
    frame = pagemap.entry(arena.address).pfn
    arena.write(0, b"written")
    assert pagemap.entry(arena.address).pfn == frame
    assert arena.verify() == []


def test_wrprotect_refuses_a_page_that_is_held(lab: PteLab, arena: Arena) -> None:
    out, into = os.pipe()
    try:

        class Iovec(ctypes.Structure):
            _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

        vector = Iovec(arena.address, 4096)
        assert ctypes.CDLL(None).vmsplice(into, ctypes.byref(vector), 1, 0) == 4096
        call = lab.call(Op.WRPROTECT, arena.address)
        assert call.result == -errno.EBUSY
        assert call.before == call.after
        # One of the mapping, one of the pipe; a per-CPU batch may hold another.
        assert call.refs >= 2
        assert call.mapcount == 1
    finally:
        os.close(out)
        os.close(into)


def test_replace_puts_a_kernel_page_there(lab: PteLab, arena: Arena) -> None:
    before = pagemap.entry(arena.address)
    call = lab.call(Op.REPLACE, arena.address)
    assert call.result == 0
    after = pagemap.entry(arena.address)
    assert after.pfn != before.pfn
    assert call.after >> 12 & (1 << 40) - 1 == after.pfn
    assert not call.after & (WRITE | DIRTY)
    assert after.file
    assert not before.file
    assert arena.verify() == []
    arena.write(0, b"mine")
    assert pagemap.entry(arena.address).pfn != after.pfn
    assert not pagemap.entry(arena.address).file
    assert arena.verify() == []


def test_a_replaced_page_is_not_replaced_again(lab: PteLab, arena: Arena) -> None:
    assert lab.call(Op.REPLACE, arena.address).result == 0
    with pytest.raises(OSError) as caught:
        lab.call(Op.REPLACE, arena.address)
    assert caught.value.errno == errno.ENXIO


def test_set_pte_at_notify(lab: PteLab, arena: Arena) -> None:
    bytes(arena.page_view(0))
    call = lab.call(Op.SET_PTE, arena.address)
    assert call.before & ACCESSED
    assert call.after == call.before & ~ACCESSED
    assert arena.verify() == []


def test_hashing_takes_time_and_tells_contents_apart(lab: PteLab, arena: Arena) -> None:
    hashed = lab.hash(arena.address, arena.npages)
    assert 0 < hashed.ns < 1_000_000_000
    assert lab.hash(arena.address, arena.npages).sum == hashed.sum
    arena.write(7, b"other")
    assert lab.hash(arena.address, arena.npages).sum != hashed.sum
    assert arena.verify() == []


def test_what_hashing_refuses(lab: PteLab, arena: Arena) -> None:
    arena.unmap(1, 1)
    for address, number in ((arena.address + 1, errno.EINVAL), (arena.address, errno.EFAULT)):
        with pytest.raises(OSError) as caught:
            lab.hash(address, 8)
        assert caught.value.errno == number


def test_what_it_refuses(lab: PteLab, arena: Arena) -> None:
    arena.unmap(1, 1)
    for address in (0, 0xFFFF888000000000, arena.page_address(1)):
        with pytest.raises(OSError) as caught:
            lab.call(Op.GET_PTE, address)
        assert caught.value.errno == errno.ENXIO
    with pytest.raises(OSError) as caught:
        lab.call(9, arena.address)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError) as caught:
        fcntl.ioctl(lab.fileno(), 0xAB8F, 0)
    assert caught.value.errno == errno.ENOTTY
