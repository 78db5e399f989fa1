"""Arenas know what they hold, whatever is done to them."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ksmlab import content, libc
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena

if TYPE_CHECKING:
    from collections.abc import Iterator

MAPS = Path("/proc/self/maps")


@pytest.fixture
def arena() -> Iterator[Arena]:
    with Arena(1100, seed=1) as made:
        made.fill(content.unique(1100))
        yield made


def test_a_new_arena_reads_as_zeros() -> None:
    with Arena(3) as fresh:
        assert fresh.verify() == []
        assert fresh.expected(2) == bytes(PAGE_SIZE)
        fresh.page_view(1)[17] = 1
        assert fresh.verify() == [1]


def test_filling_a_part_leaves_zeros_around_it() -> None:
    with Arena(6) as part:
        part.fill(content.equal(2), first=2)
        assert part.verify() == []
        assert bytes(part.page_view(1)) == bytes(PAGE_SIZE)
        assert bytes(part.page_view(4)) == bytes(PAGE_SIZE)
        assert bytes(part.page_view(2)) == bytes(part.page_view(3)) == part.content.page(1)


def test_every_changed_byte_is_found(arena: Arena) -> None:
    assert arena.verify() == []
    for page, offset in [(0, 0), (511, 4095), (512, 9), (1099, 4095)]:
        arena.page_view(page)[offset] ^= 1
    assert arena.verify() == [0, 511, 512, 1099]
    assert arena.verify(1, 511) == [511]
    assert arena.verify(513, 500) == []


def test_write_is_remembered(arena: Arena) -> None:
    arena.write(600, b"hello", offset=100)
    assert arena.verify() == []
    assert bytes(arena.page_view(600)[100:105]) == b"hello"
    arena.page_view(600)[0] ^= 1
    assert arena.verify() == [600]
    arena.fill(content.equal(1), first=600)
    assert arena.verify() == []


def test_write_to_a_new_arena() -> None:
    with Arena(4) as fresh:
        fresh.write(2, b"x")
        assert fresh.verify() == []
        assert fresh.expected(2) == b"x" + bytes(PAGE_SIZE - 1)


def test_rekey_equals_fill(arena: Arena) -> None:
    arena.rekey(content.equal(20, key=9), first=500)
    assert arena.verify() == []
    assert bytes(arena.page_view(519)) == arena.content.page(9)
    assert arena.keys[499:502].tolist() == [500, 9, 9]


def test_discard_gives_zeros(arena: Arena) -> None:
    arena.discard(10, 5)
    assert arena.verify() == []
    assert bytes(arena.page_view(12)) == bytes(PAGE_SIZE)


def test_unmap_makes_a_hole(arena: Arena) -> None:
    arena.unmap(100, 50)
    assert arena.verify() == []
    arena.page_view(150)[0] ^= 1
    assert arena.verify() == [150]
    with pytest.raises(ValueError, match="holes"):
        arena.move()


def test_move_keeps_the_content(arena: Arena) -> None:
    old = arena.move()
    assert old != arena.address
    assert arena.verify() == []
    assert f"{old:x}-" not in MAPS.read_text()


def test_huge_arenas_are_aligned_and_move_out_whole() -> None:
    with Arena(700, huge=True) as huge:
        assert huge.address % (512 * PAGE_SIZE) == 0
        huge.fill(content.unique(700))
        huge.move()
        assert huge.verify() == []


def test_protect_and_lock(arena: Arena) -> None:
    arena.protect(libc.PROT_READ, 0, 10)
    maps = [
        line for line in MAPS.read_text().splitlines() if line.startswith(f"{arena.address:x}-")
    ]
    assert len(maps) == 1
    assert " r--p " in maps[0]
    arena.protect(mmap.PROT_READ | mmap.PROT_WRITE)
    arena.lock(0, 2)
    arena.unlock(0, 2)
    assert arena.verify() == []


def test_a_child_has_its_own_copy(arena: Arena) -> None:
    pid = os.fork()
    if pid == 0:
        arena.rekey(content.equal(1100))
        os._exit(0 if arena.verify() == [] else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert arena.verify() == []


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, 1101), (1100, 1), (5, 0)])
def test_pages_outside_are_refused(arena: Arena, first: int, count: int) -> None:
    with pytest.raises(IndexError):
        arena.verify(first, count)


def test_errors_name_the_call() -> None:
    with pytest.raises(OSError, match="madvise of 4096 bytes at 0x1"):
        libc.advise(1, 4096, mmap.MADV_DONTNEED)


def test_closed_arenas_say_so() -> None:
    done = Arena(1)
    done.close()
    done.close()
    with pytest.raises(ValueError, match="closed"):
        done.view()


def test_64_mib_are_quick() -> None:
    with Arena(16384) as large:
        start = time.process_time()
        large.fill(content.unique(16384))
        assert large.verify() == []
        large.rekey(content.groups(16384, 2))
        assert large.verify() == []
        assert time.process_time() - start < 2
