"""What a walk has to find, in tables as a processor has them."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

PAGE, HUGE, GIANT, TERA = 1 << 12, 1 << 21, 1 << 30, 1 << 39
PRESENT, PS, NX, PAT_HUGE = 1 << 0, 1 << 7, 1 << 63, 1 << 12
# What stands in an entry besides: writable, for user code, accessed, dirty.
USUAL = PRESENT | 0x66
# Where the tables are.
PGD, PUD, PMD, PTE, EMPTY = (number * PAGE for number in range(1, 6))


class Found(ctypes.Structure):
    """What walk() returns."""

    _fields_ = (("page", ctypes.c_bool), ("frame", ctypes.c_uint64), ("next", ctypes.c_uint64))


library = ctypes.CDLL(str(Path(__file__).parent / "walk.so"))
library.walk.restype = Found
library.walk.argtypes = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)

memory = (ctypes.c_uint64 * (6 * PAGE // 8))()
for table, index, entry in (
    (PGD, 0, PUD | USUAL),
    (PGD, 1, EMPTY | USUAL),
    (PUD, 0, PMD | USUAL),
    (PUD, 2, 9 * GIANT | USUAL | PS | NX),
    (PMD, 0, PTE | USUAL),
    # Bit 12 of a huge page says how it is cached, and not where it is.
    (PMD, 1, 3 * HUGE | USUAL | PS | PAT_HUGE),
    (PTE, 0, 7 * PAGE | USUAL | NX),
    # So does bit 7 in the last level.
    (PTE, 3, 9 * PAGE | USUAL | PS),
    # In swap: the entry is not empty, and there is no page.
    (PTE, 4, 11 * PAGE | 0x66),
):
    memory[(table + 8 * index) // 8] = entry


def walk(address: int) -> tuple[int | None, int]:
    """Return the frame, or None, and where to look next."""
    found = library.walk(ctypes.addressof(memory), PGD, address)
    return (found.frame if found.page else None), found.next


@pytest.mark.parametrize(
    ("address", "frame", "following"),
    [
        (0, 7, PAGE),
        (100, 7, PAGE),
        (3 * PAGE, 9, 4 * PAGE),
        (PAGE, None, 2 * PAGE),
        (4 * PAGE, None, 5 * PAGE),
        (HUGE, 3 * 512, HUGE + PAGE),
        (HUGE + 5 * PAGE + 1, 3 * 512 + 5, HUGE + 6 * PAGE),
        (2 * HUGE, None, 3 * HUGE),
        (2 * HUGE + PAGE, None, 3 * HUGE),
        (GIANT, None, 2 * GIANT),
        (2 * GIANT + 6 * PAGE, 9 * 512 * 512 + 6, 2 * GIANT + 7 * PAGE),
        (TERA, None, TERA + GIANT),
        (5 * TERA, None, 6 * TERA),
    ],
)
def test_walk(address: int, frame: int | None, following: int) -> None:
    assert walk(address) == (frame, following)


def test_a_scan_meets_each_page_once_and_steps_over_holes() -> None:
    address, met, steps = 0, [], 0
    while address < 2 * GIANT and steps < 3000:
        frame, address = walk(address)
        steps += 1
        if frame is not None:
            met.append(frame)
    assert met == [7, 9, *range(3 * 512, 4 * 512)]
    assert steps < 3000
