"""Walks through page tables in the format of x86-64."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

PAGE, HUGE, GIANT, TERA = 1 << 12, 1 << 21, 1 << 30, 1 << 39
PRESENT, PS, NX, PAT_HUGE = 1 << 0, 1 << 7, 1 << 63, 1 << 12
# The usual flags of an entry: present, writable, user, accessed, dirty.
USUAL = PRESENT | 0x66
# The physical addresses of the tables.
PGD, PUD, PMD, PTE, EMPTY = (number * PAGE for number in range(1, 6))


class Found(ctypes.Structure):
    """The return value of walk()."""

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
    # Bit 12 of this entry selects how the huge page is cached. It is not part of the address.
    (PMD, 1, 3 * HUGE | USUAL | PS | PAT_HUGE),
    (PTE, 0, 7 * PAGE | USUAL | NX),
    # In the last level, bit 7 selects how the page is cached.
    (PTE, 3, 9 * PAGE | USUAL | PS),
    # The page is in swap: the entry is neither empty nor present.
    (PTE, 4, 11 * PAGE | 0x66),
):
    memory[(table + 8 * index) // 8] = entry


def walk(address: int) -> tuple[int | None, int]:
    """Return the frame number of an address, or None, and the address at which the walk continues."""
    found = library.walk(ctypes.addressof(memory), PGD, address)
    return (found.frame if found.page else None), found.next


@pytest.mark.parametrize(
    ("address", "frame", "following", "story"),
    [
        (0, 7, PAGE, "a small page"),
        (100, 7, PAGE, "byte 100 of a small page"),
        (
            3 * PAGE,
            9,
            4 * PAGE,
            "a small page whose entry has bit 7 set, which is no huge page in the last level",
        ),
        (PAGE, None, 2 * PAGE, "an empty entry of the last level"),
        (
            4 * PAGE,
            None,
            5 * PAGE,
            "a page in swap: the entry is not empty, but not present either",
        ),
        (
            HUGE,
            3 * 512,
            HUGE + PAGE,
            "the first 4 KiB of a huge page of 2 MiB, with bit 12 set in its entry",
        ),
        (
            HUGE + 5 * PAGE + 1,
            3 * 512 + 5,
            HUGE + 6 * PAGE,
            "the sixth 4 KiB of a huge page of 2 MiB",
        ),
        (2 * HUGE, None, 3 * HUGE, "an empty PMD entry, which covers 2 MiB"),
        (2 * HUGE + PAGE, None, 3 * HUGE, "the middle of the range of an empty PMD entry"),
        (GIANT, None, 2 * GIANT, "an empty PUD entry, which covers 1 GiB"),
        (
            2 * GIANT + 6 * PAGE,
            9 * 512 * 512 + 6,
            2 * GIANT + 7 * PAGE,
            "the seventh 4 KiB of a huge page of 1 GiB",
        ),
        (TERA, None, TERA + GIANT, "an empty PUD entry in another table"),
        (5 * TERA, None, 6 * TERA, "an empty PGD entry, which covers 512 GiB"),
    ],
)
def test_walk(address: int, frame: int | None, following: int, story: str) -> None:
    found, after = walk(address)
    wanted, got = ("no page" if each is None else f"frame {each}" for each in (frame, found))
    assert found == frame, (
        f"Address {address:#x} is {story}. walk() must find {wanted}; it found {got}. See 'Four levels of tables'."
    )
    assert after == following, (
        f"Address {address:#x} is {story}. `next` must be {following:#x}; it is {after:#x}. See 'Four levels of "
        "tables'."
    )


def test_a_scan_finds_each_page_once_and_skips_holes() -> None:
    address, met, steps, most = 0, [], 0, 3000
    while address < 2 * GIANT and steps < most:
        frame, address = walk(address)
        steps += 1
        if frame is not None:
            met.append(frame)
    assert steps < most, (
        f"A scan of 2 GiB must need fewer than {most} calls, because each call skips the complete range of an "
        "empty entry. "
        f"After {steps} calls yours is at address {address:#x}."
    )
    pages = 2 + 512
    assert met == [7, 9, *range(3 * 512, 4 * 512)], (
        f"2 GiB have 2 small pages and a huge page of 512: a scan finds {pages} pages, each once and in order. "
        "Yours found "
        f"{len(met)}; the first ones are in the frames {met[:4]}."
    )
