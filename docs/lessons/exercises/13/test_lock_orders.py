"""What lockdep reports, and what it does not report."""

from __future__ import annotations

import pytest
from lock_orders import LockOrders


@pytest.fixture
def orders() -> LockOrders:
    return LockOrders()


def test_reversed_order_in_one_thread_is_reported(orders: LockOrders) -> None:
    """No thread has to wait: two calls, one after the other, are enough."""
    assert orders.lock("python", "ksm_lock") is None
    assert orders.lock("python", "area->lock") is None
    orders.unlock("python", "area->lock")
    orders.unlock("python", "ksm_lock")
    assert orders.lock("python", "area->lock") is None
    assert orders.lock("python", "ksm_lock") == ["ksm_lock", "area->lock"]


def test_reversed_order_in_two_threads_is_reported(orders: LockOrders) -> None:
    assert orders.lock("one", "a") is None
    assert orders.lock("one", "b") is None
    orders.unlock("one", "b")
    orders.unlock("one", "a")
    assert orders.lock("two", "b") is None
    assert orders.lock("two", "a") == ["a", "b"]


def test_the_same_order_is_never_reported(orders: LockOrders) -> None:
    for thread in ("one", "two", "one"):
        for lock in ("area->lock", "ksm_lock", "zone->lock"):
            assert orders.lock(thread, lock) is None
        for lock in ("area->lock", "ksm_lock", "zone->lock"):
            orders.unlock(thread, lock)


def test_order_over_a_third_lock_is_reported(orders: LockOrders) -> None:
    for thread, outer, inner in (("one", "a", "b"), ("two", "b", "c")):
        assert orders.lock(thread, outer) is None
        assert orders.lock(thread, inner) is None
        orders.unlock(thread, inner)
        orders.unlock(thread, outer)
    assert orders.lock("three", "c") is None
    assert orders.lock("three", "a") == ["a", "b", "c"]


def test_locks_of_other_threads_do_not_count(orders: LockOrders) -> None:
    assert orders.lock("one", "a") is None
    assert orders.lock("two", "b") is None
    orders.unlock("one", "a")
    assert orders.lock("one", "b") is None
    assert orders.lock("two", "a") is None


def test_dropped_lock_does_not_count(orders: LockOrders) -> None:
    """The driver drops ksm_lock before it waits for an mmap lock."""
    assert orders.lock("one", "ksm_lock") is None
    orders.unlock("one", "ksm_lock")
    assert orders.lock("one", "mmap_lock") is None
    assert orders.lock("one", "ksm_lock") is None
    orders.unlock("one", "ksm_lock")
    orders.unlock("one", "mmap_lock")
    assert orders.lock("two", "ksm_lock") is None
    assert orders.lock("two", "mmap_lock") == ["mmap_lock", "ksm_lock"]


def test_trylock_is_not_ordered_after_the_held_locks(orders: LockOrders) -> None:
    """A thread that only tries a lock never waits for it."""
    orders.lock("one", "ksm_lock")
    orders.trylock("one", "mmap_lock")
    orders.unlock("one", "mmap_lock")
    orders.unlock("one", "ksm_lock")
    assert orders.lock("two", "mmap_lock") is None
    assert orders.lock("two", "ksm_lock") is None


def test_lock_is_ordered_after_a_lock_that_was_tried(orders: LockOrders) -> None:
    """Other threads wait for a lock, however it was taken."""
    orders.trylock("one", "mmap_lock")
    assert orders.lock("one", "page-table lock") is None
    orders.unlock("one", "page-table lock")
    orders.unlock("one", "mmap_lock")
    assert orders.lock("two", "page-table lock") is None
    assert orders.lock("two", "mmap_lock") == ["mmap_lock", "page-table lock"]


def test_waiting_for_a_lock_that_the_thread_holds_is_reported(orders: LockOrders) -> None:
    assert orders.lock("one", "ksm_lock") is None
    assert orders.lock("one", "ksm_lock") == ["ksm_lock"]
