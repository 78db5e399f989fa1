"""Accesses that KASAN reports, and one that it misses."""

from __future__ import annotations

import pytest
from shadow import FREED, REDZONE, Heap


@pytest.fixture
def heap() -> Heap:
    """A heap of 16 granules, whose quarantine keeps two objects."""
    return Heap(128, 2)


def test_bytes_of_an_object_are_accessible(heap: Heap) -> None:
    heap.allocate(16, 24)
    assert heap.shadow[1:6] == [REDZONE, 0, 0, 0, REDZONE]
    assert heap.check(16, 8) is None
    assert heap.check(16, 24) is None
    assert heap.check(39, 1) is None


def test_last_granule_of_an_object_is_accessible_in_part(heap: Heap) -> None:
    heap.allocate(32, 13)
    assert heap.shadow[4:7] == [0, 5, REDZONE]
    assert heap.check(44, 1) is None
    assert heap.check(45, 1) == "out-of-bounds"
    assert heap.check(40, 8) == "out-of-bounds"


def test_object_of_less_than_a_granule(heap: Heap) -> None:
    heap.allocate(8, 3)
    assert heap.shadow[:3] == [REDZONE, 3, REDZONE]
    assert heap.check(8, 3) is None
    assert heap.check(8, 4) == "out-of-bounds"


def test_access_before_and_after_an_object_is_out_of_bounds(heap: Heap) -> None:
    heap.allocate(16, 16)
    assert heap.check(15, 1) == "out-of-bounds"
    assert heap.check(32, 1) == "out-of-bounds"
    assert heap.check(28, 8) == "out-of-bounds"
    assert heap.check(64, 4) == "out-of-bounds"


def test_access_to_a_freed_object_is_reported(heap: Heap) -> None:
    heap.allocate(16, 20)
    heap.free(16)
    assert heap.shadow[1:6] == [REDZONE, FREED, FREED, FREED, REDZONE]
    assert heap.check(16, 4) == "use-after-free"
    # The object never had these bytes, but its last granule is freed as a whole.
    assert heap.check(38, 1) == "use-after-free"
    assert heap.check(40, 1) == "out-of-bounds"


def test_first_byte_that_is_not_accessible_decides(heap: Heap) -> None:
    heap.allocate(16, 8)
    heap.allocate(24, 12)
    heap.free(16)
    assert heap.check(12, 8) == "out-of-bounds"
    assert heap.check(20, 20) == "use-after-free"
    assert heap.check(28, 12) == "out-of-bounds"


def test_quarantine_delays_the_reuse_of_objects(heap: Heap) -> None:
    for address in (0, 32, 64):
        heap.allocate(address, 16)
    heap.free(32)
    heap.free(0)
    assert (heap.quarantine, heap.reusable) == ([32, 0], [])
    heap.free(64)
    assert (heap.quarantine, heap.reusable) == ([0, 64], [32])
    assert heap.check(32, 8) == "use-after-free"


def test_access_to_a_freed_object_is_missed_after_reuse(heap: Heap) -> None:
    """A pointer to a freed object may point into a new one: KASAN cannot tell them apart."""
    for address in (0, 32, 64):
        heap.allocate(address, 16)
        heap.free(address)
    assert heap.reusable == [0]
    heap.allocate(0, 8)
    assert heap.check(0, 8) is None
    assert heap.check(8, 8) == "use-after-free"
