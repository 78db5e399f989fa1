"""The number of frames after a merge, for several sets of pages."""

import pytest
from after_merge import frames_left, pages_shared

CASES = [
    ([], 0, 0),
    ([b"a"], 1, 0),
    ([b"a", b"a", b"a", b"a"], 1, 3),
    ([b"a", b"b", b"a", b"c", b"b"], 3, 2),
    ([bytes([number % 3]) for number in range(12)], 3, 9),
]


@pytest.mark.parametrize(("contents", "frames"), [case[:2] for case in CASES])
def test_frames_left(contents: list[bytes], frames: int) -> None:
    got = frames_left(contents)
    assert got == frames, (
        f"Number of pages: {len(contents)}; number of different contents: {frames}. So frames_left() must return "
        f"{frames}; it returned {got}. See 'A worked answer' to the first part of the exercise."
    )


@pytest.mark.parametrize(("contents", "frames", "shared"), CASES)
def test_pages_shared(contents: list[bytes], frames: int, shared: int) -> None:
    got = pages_shared(contents)
    assert got == shared, (
        f"Number of frames before the merge: {len(contents)}; after it: {frames}. So pages_shared() must return "
        f"{shared}; it returned {got}. See 'One command'."
    )
