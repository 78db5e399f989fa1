"""Accesses that KASAN reports, and one that it misses."""

from __future__ import annotations

import pytest
from shadow import FREED, REDZONE, Heap


@pytest.fixture
def heap() -> Heap:
    """Return a heap of 16 granules, whose quarantine keeps two objects."""
    return Heap(128, 2)


def check_shadow(heap: Heap, first: int, wanted: list[int], why: str) -> None:
    """Compare some shadow bytes.

    Args:
        heap: the heap.
        first: the number of the first granule whose shadow is compared.
        wanted: the shadow of this granule and of the next ones.
        why: the objects that have these granules, in words.
    """
    got = heap.shadow[first : first + len(wanted)]
    assert got == wanted, (
        f"{why} Expected as the shadow of granules {first} to {first + len(wanted) - 1}: {words(wanted)}. Your code "
        f"wrote: {words(got)}. See 'KASAN: access to freed memory'."
    )


def words(shadow: list[int]) -> str:
    """Return shadow bytes as KASAN prints them."""
    return " ".join(f"{byte:02x}" for byte in shadow)


def check_access(heap: Heap, address: int, size: int, wanted: str | None, why: str) -> None:
    """Compare the return value of check().

    Args:
        heap: the heap.
        address: the first byte of the access.
        size: the number of bytes.
        wanted: the bug that check() must report; None if there is none.
        why: the reason, and the section of the lesson that explains it.
    """
    got = heap.check(address, size)
    assert got == wanted, (
        f"An access to {size} bytes at {address}. Expected: {wanted}. check() returned: {got}. {why}"
    )


def check_lists(heap: Heap, quarantine: list[int], reusable: list[int], why: str) -> None:
    """Compare the quarantine and the list of reusable addresses."""
    assert (heap.quarantine, heap.reusable) == (quarantine, reusable), (
        f"{why} Expected: quarantine {quarantine}, reusable {reusable}. They are: quarantine {heap.quarantine}, "
        f"reusable {heap.reusable}. See 'KASAN: access to freed memory'."
    )


def test_the_bytes_of_an_object_are_accessible(heap: Heap) -> None:
    heap.allocate(16, 24)
    check_shadow(
        heap,
        1,
        [REDZONE, 0, 0, 0, REDZONE],
        "An object of 24 bytes at 16 fills the granules 2 to 4. The granules 1 and 5 belong to no object.",
    )
    for address, size in ((16, 8), (16, 24), (39, 1)):
        check_access(
            heap, address, size, None, "The object has the bytes from 16 to 39. See 'Hint 2'."
        )


def test_the_last_granule_of_an_object_is_accessible_in_part(heap: Heap) -> None:
    heap.allocate(32, 13)
    check_shadow(
        heap,
        4,
        [0, 5, REDZONE],
        "An object of 13 bytes at 32 has all 8 bytes of granule 4, and 5 bytes of granule 5.",
    )
    why = "The object has the bytes from 32 to 44: the first 5 bytes of its last granule. See 'Hint 2'."
    check_access(heap, 44, 1, None, why)
    check_access(heap, 45, 1, "out-of-bounds", why)
    check_access(heap, 40, 8, "out-of-bounds", why)


def test_an_object_may_be_smaller_than_a_granule(heap: Heap) -> None:
    heap.allocate(8, 3)
    check_shadow(heap, 0, [REDZONE, 3, REDZONE], "An object of 3 bytes at 8 is in granule 1.")
    why = "The object has the bytes 8, 9 and 10. See 'Hint 2'."
    check_access(heap, 8, 3, None, why)
    check_access(heap, 8, 4, "out-of-bounds", why)


def test_an_access_before_or_after_an_object_is_out_of_bounds(heap: Heap) -> None:
    heap.allocate(16, 16)
    for address, size in ((15, 1), (32, 1), (28, 8), (64, 4)):
        check_access(
            heap,
            address,
            size,
            "out-of-bounds",
            "The object has the bytes from 16 to 31, and the access has a byte outside of it. See 'Hint 2'.",
        )


def test_an_access_to_a_freed_object_is_reported(heap: Heap) -> None:
    heap.allocate(16, 20)
    heap.free(16)
    check_shadow(
        heap,
        1,
        [REDZONE, FREED, FREED, FREED, REDZONE],
        "An object of 20 bytes at 16 was freed. free() poisons all bytes of its granules, which are 2 to 4.",
    )
    for address, size, wanted in (
        (16, 4, "use-after-free"),
        (38, 1, "use-after-free"),
        (40, 1, "out-of-bounds"),
    ):
        check_access(
            heap,
            address,
            size,
            wanted,
            "An object of 20 bytes at 16 was freed. Its granules have the bytes from 16 to 39, and byte 40 is in the "
            "redzone. See 'KASAN: access to freed memory'.",
        )


def test_the_first_byte_that_is_not_accessible_decides(heap: Heap) -> None:
    heap.allocate(16, 8)
    heap.allocate(24, 12)
    heap.free(16)
    why = (
        "The bytes from 16 to 23 are a freed object, those from 24 to 35 are an object, and all others are redzones. "
        "The first byte of the access that is not accessible decides. See 'Hint 2'."
    )
    check_access(heap, 12, 8, "out-of-bounds", why)
    check_access(heap, 20, 20, "use-after-free", why)
    check_access(heap, 28, 12, "out-of-bounds", why)


def test_the_quarantine_delays_the_reuse_of_objects(heap: Heap) -> None:
    for address in (0, 32, 64):
        heap.allocate(address, 16)
    heap.free(32)
    heap.free(0)
    check_lists(
        heap, [32, 0], [], "The object at 32 was freed, then that at 0. The quarantine keeps two."
    )
    heap.free(64)
    check_lists(
        heap, [0, 64], [32], "A third object was freed, so the oldest leaves the quarantine."
    )
    check_access(
        heap,
        32,
        8,
        "use-after-free",
        "The object at 32 has left the quarantine, but its memory is not allocated again yet. See 'KASAN: access to "
        "freed memory'.",
    )


def test_an_access_to_a_freed_object_is_missed_after_reuse(heap: Heap) -> None:
    for address in (0, 32, 64):
        heap.allocate(address, 16)
        heap.free(address)
    check_lists(
        heap, [32, 64], [0], "The objects at 0, 32 and 64 were freed. The quarantine keeps two."
    )
    heap.allocate(0, 8)
    situation = "The object of 16 bytes at 0 was freed, and a new one of 8 bytes is there now."
    check_access(
        heap,
        0,
        8,
        None,
        f"{situation} KASAN cannot know whether the access uses a pointer to the old object. See 'What can go wrong'.",
    )
    check_access(
        heap,
        8,
        8,
        "use-after-free",
        f"{situation} It has only the first granule of the old one, so the second granule is still freed. See 'KASAN: "
        "access to freed memory'.",
    )
