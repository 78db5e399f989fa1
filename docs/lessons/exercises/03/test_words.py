"""Pagemap entries as the kernel writes them."""

import pytest
from words import frame, pss_bytes, shared_frames

PRESENT, SWAPPED, EXCLUSIVE, SOFT_DIRTY = 1 << 63, 1 << 62, 1 << 56, 1 << 55


@pytest.mark.parametrize(
    ("word", "expected", "reason"),
    [
        (0, None, "No bit is set, so no page is present"),
        (PRESENT | 0x1234, 0x1234, "Bit 63 is set, so a page is present"),
        (
            PRESENT | EXCLUSIVE | SOFT_DIRTY | 0x1234,
            0x1234,
            "Bits 55 and 56 are flags; only the bits below them are the frame number",
        ),
        (
            SWAPPED | 0x1234,
            None,
            "Bit 63 is clear and bit 62 is set: the page is in swap, and the low bits are its place there",
        ),
    ],
)
def test_frame(word: int, expected: int | None, reason: str) -> None:
    got = frame(word)
    assert got == expected, (
        f"{reason}. So frame({word:#x}) must return {expected}; it returned {got}. See 'A write allocates a page'."
    )


def test_shared_frames() -> None:
    one = [PRESENT | 1, PRESENT | 2, PRESENT | 2, 0, SWAPPED | 9]
    other = [PRESENT | EXCLUSIVE | 2, PRESENT | 3, 0, SWAPPED | 9]
    got = shared_frames(one, other)
    assert got == 1, (
        "One range maps the frames 1 and 2, the other 2 and 3, so they have 1 frame in common; shared_frames() "
        f"returned {got}. Pages that are not present, or are in swap, have no frame."
    )
    got = shared_frames([0, 0], [0])
    assert got == 0, (
        f"No page of the two ranges is present, so they have no frame in common; shared_frames() returned {got}."
    )


@pytest.mark.parametrize(
    ("map_counts", "expected"), [([1, 1], 8192), ([1024] * 1024, 4096), ([2, 4], 3072), ([], 0)]
)
def test_pss_divides_each_page_by_its_mappings(map_counts: list[int], expected: float) -> None:
    got = pss_bytes(map_counts)
    assert got == pytest.approx(expected), (
        f"{len(map_counts)} pages with the map counts {map_counts[:3]}{'...' if map_counts[3:] else ''} have a Pss of "
        f"{expected} bytes: 4096 divided by the map count, for each page. pss_bytes() returned {got}. See 'How much "
        "memory does the process use?'."
    )
