"""What is left of some pages."""

import pytest
from after_merge import frames_left, pages_shared


@pytest.mark.parametrize(
    ("contents", "frames", "shared"),
    [
        ([], 0, 0),
        ([b"a"], 1, 0),
        ([b"a", b"a", b"a", b"a"], 1, 3),
        ([b"a", b"b", b"a", b"c", b"b"], 3, 2),
        ([bytes([number % 3]) for number in range(12)], 3, 9),
    ],
)
def test_after_a_merge(contents: list[bytes], frames: int, shared: int) -> None:
    assert frames_left(contents) == frames
    assert pages_shared(contents) == shared
