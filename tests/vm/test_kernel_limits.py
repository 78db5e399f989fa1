"""The kernel does not know kernel pages: what it does with them, on each kernel, as the docs state it.

See "What a module cannot do" in docs/explanation/references-and-pins.md.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import re
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numa
import pytest
from equal import NPAGES, all_merged
from kernel_config import built_with, need, release
from memory_blocks import block_of, blocks
from uffd import FEATURE_MOVE, MODE_MISSING, kernel_can_move, userfaultfd, write_protected
from written import written

from ksmlab import content, pagemap
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena
from ksmlab.pytest_plugin.kernel_log import KernelLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

GUP_TEST = Path("/sys/kernel/debug/gup_test")
PIN_LONGTERM_BENCHMARK = 0xC0506703
FOLL_WRITE = 1
COMPACT = Path("/proc/sys/vm/compact_memory")
PER_CPU_LISTS = Path("/proc/sys/vm/percpu_pagelist_high_fraction")
UNMOVABLE = re.compile(r"^page:.* pfn:0x([0-9a-f]+)$")


class _GupTest(ctypes.Structure):
    """struct gup_test of mm/gup_test.h."""

    _fields_ = (
        ("get_delta_usec", ctypes.c_uint64),
        ("put_delta_usec", ctypes.c_uint64),
        ("addr", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("nr_pages_per_call", ctypes.c_uint32),
        ("gup_flags", ctypes.c_uint32),
        ("test_flags", ctypes.c_uint32),
        ("which_pages", ctypes.c_uint32 * 8),
    )


def pin_for_long(arena: Arena, flags: int) -> None:
    """Pin all pages of an arena with FOLL_LONGTERM and other FOLL_* flags, and unpin them."""
    argument = _GupTest(
        addr=arena.address, size=arena.size, nr_pages_per_call=arena.npages, gup_flags=flags
    )
    with GUP_TEST.open("rb") as file:
        fcntl.ioctl(file, PIN_LONGTERM_BENCHMARK, argument)
    assert argument.size == arena.size


@contextmanager
def fails_with(number: int) -> Iterator[None]:
    """Fail the test unless the statements in the block raise OSError with this errno."""
    code = 0
    try:
        yield
    except OSError as error:
        code = error.errno or 0
    assert errno.errorcode.get(code, "OK") == errno.errorcode[number]


def frames(arena: Arena) -> list[int]:
    return pagemap.frames(None, arena.address, arena.npages)


@pytest.mark.parametrize("flags", [0, FOLL_WRITE], ids=["read", "write"])
def test_long_term_pin_copies_the_page_except_for_reading_on_6_1(
    area: Area, arena: Arena, scanning: KsmSysfs, flags: int
) -> None:
    """A pin that takes the kernel page itself keeps its content when the owner writes and gets a copy."""
    need("gup_test", GUP_TEST.exists(), "CONFIG_GUP_TEST")
    area.register(arena)
    all_merged(scanning)
    scanning.run = 0
    pin_for_long(arena, flags)
    copied = flags == FOLL_WRITE or release() >= (6, 2)
    assert pagemap.distinct(frames(arena)) == (NPAGES if copied else 1)
    assert arena.verify() == []


def test_remove_of_a_write_protected_page_fails_only_on_6_1(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    """Before 6.2 the driver can only cause a write fault, which userfaultfd intercepts."""
    area.register(arena)
    all_merged(scanning)
    with write_protected(arena, 1):
        if release() >= (6, 2):
            area.remove()
        else:
            with fails_with(errno.EFAULT):
                area.remove()
            assert pagemap.entry(arena.address).file
            assert scanning.kernel_pages_allocated == 1
    area.remove()
    assert pagemap.distinct(frames(arena)) == NPAGES
    assert arena.verify() == []


def test_userfaultfd_does_not_move_a_merged_page(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    if not kernel_can_move():
        assert release() < (6, 8)
        return
    if built_with("CONFIG_DEBUG_VM_PGFLAGS"):
        pytest.skip("UFFDIO_MOVE of a page that is not anonymous is a BUG() on this kernel")
    area.register(arena)
    all_merged(scanning)
    with Arena(2, huge=False) as target, userfaultfd(FEATURE_MOVE) as uffd:
        uffd.register(target, MODE_MISSING)
        before = frames(arena)
        with fails_with(errno.EBUSY):
            uffd.move(target.address, arena.address)
        assert frames(arena) == before
        # After a write the page is anonymous and exclusive, and moves.
        arena.write(1, b"private")
        page = arena.expected(1)
        uffd.move(target.page_address(1), arena.page_address(1))
        assert bytes(target.page_view(1)) == page
    assert arena.verify(2) == []


def test_move_pages_does_not_move_a_merged_page(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    if len(numa.nodes()) < 2:
        pytest.skip("this VM has one NUMA node (--vm-boot numa=fake=2)")
    with Arena(1, huge=False) as ordinary:
        ordinary.fill(content.unique(1))
        area.register(arena)
        all_merged(scanning)
        before = frames(arena)
        statuses: list[int] = []
        for node in numa.nodes()[:2]:
            statuses += numa.move(arena.address, [node] * NPAGES, shared=True)
            assert numa.move(ordinary.address, [node], shared=True) == [node]
            # Without MPOL_MF_MOVE_ALL, no page moves that is mapped more than once.
            status = set(numa.move(arena.address, [node] * NPAGES))
            assert status <= {node, -errno.EACCES}
        # On one of the two nodes the page was already.
        assert statuses.count(-errno.EBUSY) == NPAGES
        assert frames(arena) == before
    assert arena.verify() == []


def test_compaction_does_not_move_merged_pages(area: Area, scanning: KsmSysfs) -> None:
    """Ordinary pages move at the same time. They have gaps, because compaction moves no page to an empty pageblock."""
    pairs, gap = 4096, 64
    with Arena(2 * pairs, huge=False) as arena, Arena(4 * pairs, huge=False) as ordinary:
        arena.fill(content.groups(2 * pairs, 2))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == pairs, 60, "all pairs to merge")
        ordinary.fill(content.unique(4 * pairs, first=1 << 40))
        # The default lets each CPU keep thousands of free pages in a list that compaction does not use.
        with written({PER_CPU_LISTS: "1000"}):
            for page in range(0, 4 * pairs, 2 * gap):
                ordinary.discard(page, gap)
            merged, others = frames(arena), frames(ordinary)
            COMPACT.write_text("1")
            assert frames(arena) == merged
            assert frames(ordinary) != others
        assert arena.verify() == ordinary.verify() == []


def scan_until_shared(scanning: KsmSysfs, pages: int) -> None:
    """Scan until pages_shared has a value, and stop."""
    scanning.run = 1
    scanning.wait_until(lambda s: s.pages_shared == pages, 120, f"{pages} pages shared")
    scanning.run = 0


#: Arenas of 128 MiB that test_memory_with_kernel_pages_is_not_taken_offline() registers at most.
MOST_ARENAS = 6


def free_last_what_can_go_offline() -> None:
    """Allocate most of the free memory, and free it again.

    A block that is onlined again is allocated last. The kernel allocates first what was freed last.
    """
    (free,) = re.findall(r"MemFree: +(\d+) kB", Path("/proc/meminfo").read_text())
    with Arena(int(free) * 1024 // PAGE_SIZE * 3 // 4, huge=True) as arena:
        ctypes.memset(arena.address, 1, arena.size)


def test_memory_with_kernel_pages_is_not_taken_offline(area: Area, scanning: KsmSysfs) -> None:
    need("hot-removable memory", bool(blocks()), "CONFIG_MEMORY_HOTREMOVE")
    usable = {block for block in blocks() if block.can_go_offline()}
    assert usable, "the kernel takes no block of memory offline, even without kernel pages"
    free_last_what_can_go_offline()
    pairs, log = 16384, KernelLog()
    with ExitStack() as stack:
        arenas: list[Arena] = []
        kernel_pages: set[int] = set()
        # For each attempt, the kernel logs the first page that it cannot move.
        reasons: set[int] = set()
        while not reasons & kernel_pages:
            assert len(arenas) < MOST_ARENAS, reasons
            arenas.append(stack.enter_context(Arena(2 * pairs, huge=False)))
            arenas[-1].fill(content.groups(2 * pairs, 2, first=1 + len(arenas) * pairs))
            area.register(arenas[-1])
            scan_until_shared(scanning, len(arenas) * pairs)
            kernel_pages.update(frames(arenas[-1]))
            log.take()
            # The first kernel pages may all be in memory that cannot go offline anyway.
            for block in usable & set(map(block_of, kernel_pages)):
                with fails_with(errno.EBUSY):
                    block.offline()
            reasons.update(int(m[1], 16) for m in map(UNMOVABLE.match, log.take()) if m)
        log.close()
        assert scanning.kernel_pages_allocated == len(arenas) * pairs
        assert [arena.verify() for arena in arenas] == [[]] * len(arenas)
