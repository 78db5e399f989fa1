"""Accesses that KASAN reports, and one that it misses."""

from __future__ import annotations

import pytest
from shadow import FREED, REDZONE, Heap


@pytest.fixture
def heap() -> Heap:
    """A heap of 16 granules, whose quarantine keeps two objects."""
    return Heap(128, 2)


def check_shadow(heap: Heap, first: int, wanted: list[int], what: str) -> None:
    """Compare some shadow bytes, beginning with that of a granule."""
    got = heap.shadow[first : first + len(wanted)]
    assert got == wanted, (
        f"{what}: the shadow of the {len(wanted)} granules from granule {first} on must be {words(wanted)}; it is "
        f"{words(got)}. See hint 1."
    )


def words(shadow: list[int]) -> str:
    """Write shadow bytes as KASAN does."""
    return " ".join(f"{byte:02x}" for byte in shadow)


def check_access(heap: Heap, address: int, size: int, wanted: str | None, why: str) -> None:
    """Compare the result of check()."""
    got = heap.check(address, size)
    assert got == wanted, (
        f"Access to {size} bytes at {address}. Expected: {wanted}; check() returned {got}. {why}"
    )


def test_the_bytes_of_an_object_are_accessible(heap: Heap) -> None:
    heap.allocate(16, 24)
    check_shadow(heap, 1, [REDZONE, 0, 0, 0, REDZONE], "An object of 24 bytes at 16")
    for address, size in ((16, 8), (16, 24), (39, 1)):
        check_access(heap, address, size, None, "The object has 24 bytes, from 16 to 39.")


def test_the_last_granule_of_an_object_is_accessible_in_part(heap: Heap) -> None:
    heap.allocate(32, 13)
    check_shadow(heap, 4, [0, 5, REDZONE], "An object of 13 bytes at 32")
    why = "The last granule of the object, from 40 on, has 5 accessible bytes. See hint 2."
    check_access(heap, 44, 1, None, why)
    check_access(heap, 45, 1, "out-of-bounds", why)
    check_access(heap, 40, 8, "out-of-bounds", why)


def test_an_object_may_be_smaller_than_a_granule(heap: Heap) -> None:
    heap.allocate(8, 3)
    check_shadow(heap, 0, [REDZONE, 3, REDZONE], "An object of 3 bytes at 8")
    check_access(heap, 8, 3, None, "These are its bytes.")
    check_access(heap, 8, 4, "out-of-bounds", "The fourth byte does not belong to the object.")


def test_an_access_before_or_after_an_object_is_out_of_bounds(heap: Heap) -> None:
    heap.allocate(16, 16)
    for address, size in ((15, 1), (32, 1), (28, 8), (64, 4)):
        why = "The object has 16 bytes, from 16 to 31. Look at each byte of the access."
        check_access(heap, address, size, "out-of-bounds", why)


def test_an_access_to_a_freed_object_is_reported(heap: Heap) -> None:
    heap.allocate(16, 20)
    heap.free(16)
    check_shadow(
        heap, 1, [REDZONE, FREED, FREED, FREED, REDZONE], "A freed object of 20 bytes at 16"
    )
    check_access(heap, 16, 4, "use-after-free", "The object has been freed.")
    check_access(heap, 38, 1, "use-after-free", "free() poisons whole granules.")
    check_access(heap, 40, 1, "out-of-bounds", "This is the redzone after the object.")


def test_the_first_byte_that_is_not_accessible_decides(heap: Heap) -> None:
    heap.allocate(16, 8)
    heap.allocate(24, 12)
    heap.free(16)
    why = "Bytes 16 to 23 are freed, 24 to 35 are an object, and the others are redzones."
    check_access(heap, 12, 8, "out-of-bounds", why)
    check_access(heap, 20, 20, "use-after-free", why)
    check_access(heap, 28, 12, "out-of-bounds", why)


def test_the_quarantine_delays_the_reuse_of_objects(heap: Heap) -> None:
    for address in (0, 32, 64):
        heap.allocate(address, 16)
    heap.free(32)
    heap.free(0)
    assert (heap.quarantine, heap.reusable) == ([32, 0], []), (
        "Two objects were freed, first 32, then 0, and the quarantine keeps two. Expected: quarantine [32, 0], "
        f"reusable []; got: quarantine {heap.quarantine}, reusable {heap.reusable}."
    )
    heap.free(64)
    assert (heap.quarantine, heap.reusable) == ([0, 64], [32]), (
        "A third object was freed, 64, so the oldest leaves the quarantine. Expected: quarantine [0, 64], reusable "
        f"[32]; got: quarantine {heap.quarantine}, reusable {heap.reusable}."
    )
    check_access(heap, 32, 8, "use-after-free", "Object 32 is reusable, but it is still freed.")


def test_an_access_to_a_freed_object_is_missed_after_reuse(heap: Heap) -> None:
    for address in (0, 32, 64):
        heap.allocate(address, 16)
        heap.free(address)
    assert heap.reusable == [0], (
        f"Three objects were freed and the quarantine keeps two. Expected: reusable [0]; got: {heap.reusable}."
    )
    heap.allocate(0, 8)
    why = "A new object of 8 bytes is at 0 now. KASAN cannot know that the pointer is an old one."
    check_access(heap, 0, 8, None, why)
    check_access(
        heap, 8, 8, "use-after-free", "The new object has only the first granule of the old one."
    )
