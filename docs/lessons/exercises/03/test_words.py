"""Words as the kernel writes them."""

import pytest
from words import frame, pss_bytes, shared_frames

PRESENT, SWAPPED, EXCLUSIVE, SOFT_DIRTY = 1 << 63, 1 << 62, 1 << 56, 1 << 55


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0, None),
        (PRESENT | 0x1234, 0x1234),
        (PRESENT | EXCLUSIVE | SOFT_DIRTY | 0x1234, 0x1234),
        # In swap: the low bits are a place there.
        (SWAPPED | 0x1234, None),
    ],
)
def test_frame(word: int, expected: int | None) -> None:
    assert frame(word) == expected


def test_shared_frames() -> None:
    one = [PRESENT | 1, PRESENT | 2, PRESENT | 2, 0, SWAPPED | 9]
    other = [PRESENT | EXCLUSIVE | 2, PRESENT | 3, 0, SWAPPED | 9]
    assert shared_frames(one, other) == 1
    assert shared_frames([0, 0], [0]) == 0


def test_pss_adds_up() -> None:
    assert pss_bytes([1, 1]) == 8192
    assert pss_bytes([1024] * 1024) == pytest.approx(4096)
    assert pss_bytes([]) == 0
