"""Orders that lockdep reports, and orders that it does not report."""

from __future__ import annotations

import pytest
from lock_orders import LockOrders


class Play:
    """Threads that take and drop locks, and a list of their steps for messages."""

    def __init__(self) -> None:
        """Begin with no step."""
        self.orders = LockOrders()
        self.steps: list[str] = []

    def lock(self, thread: str, lock: str, wanted: list[str] | None = None, why: str = "") -> None:
        """Take a lock, and compare the order that is returned with the wanted one."""
        got = self.orders.lock(thread, lock)
        before = "; ".join(self.steps) or "nothing"
        assert got == wanted, (
            f"Before: {before}. Now thread {thread} waits for {lock}. Expected: {wanted}; lock() returned {got}. {why}"
        )
        self.steps.append(f"{thread} takes {lock}")

    def trylock(self, thread: str, lock: str) -> None:
        """Try a lock; no other thread holds it."""
        self.orders.trylock(thread, lock)
        self.steps.append(f"{thread} tries {lock}")

    def unlock(self, thread: str, *locks: str) -> None:
        """Drop locks."""
        for lock in locks:
            self.orders.unlock(thread, lock)
            self.steps.append(f"{thread} drops {lock}")


@pytest.fixture
def play() -> Play:
    return Play()


def test_a_reversed_order_in_one_thread_is_reported(play: Play) -> None:
    play.lock("1", "ksm_lock")
    play.lock("1", "area->lock")
    play.unlock("1", "area->lock", "ksm_lock")
    play.lock("1", "area->lock")
    play.lock(
        "1",
        "ksm_lock",
        ["ksm_lock", "area->lock"],
        "No thread has to wait: both orders in one thread are enough. See 'A driver with the wrong order'.",
    )


def test_a_reversed_order_in_two_threads_is_reported(play: Play) -> None:
    play.lock("1", "a")
    play.lock("1", "b")
    play.unlock("1", "b", "a")
    play.lock("2", "b")
    play.lock("2", "a", ["a", "b"], "The orders belong to the locks, not to the threads.")


def test_the_same_order_is_never_reported(play: Play) -> None:
    locks = ("area->lock", "ksm_lock", "zone->lock")
    for thread in ("1", "2", "1"):
        for lock in locks:
            play.lock(thread, lock, None, "This is the same order as before.")
        play.unlock(thread, *locks)


def test_an_order_over_a_third_lock_is_reported(play: Play) -> None:
    for thread, outer, inner in (("1", "a", "b"), ("2", "b", "c")):
        play.lock(thread, outer)
        play.lock(thread, inner)
        play.unlock(thread, inner, outer)
    play.lock("3", "c")
    play.lock(
        "3", "a", ["a", "b", "c"], "Follow the recorded orders from lock to lock. See hint 2."
    )


def test_the_locks_of_other_threads_do_not_count(play: Play) -> None:
    play.lock("1", "a")
    play.lock("2", "b")
    play.unlock("1", "a")
    play.lock("1", "b")
    play.lock("2", "a", None, "No thread has held one of the locks while it waited for the other.")


def test_a_dropped_lock_does_not_count(play: Play) -> None:
    play.lock("1", "ksm_lock")
    play.unlock("1", "ksm_lock")
    play.lock("1", "mmap_lock")
    play.lock(
        "1",
        "ksm_lock",
        None,
        "ksm_lock was dropped before. See 'Look up, unlock, act, revalidate'.",
    )
    play.unlock("1", "ksm_lock", "mmap_lock")
    play.lock("2", "ksm_lock")
    play.lock(
        "2", "mmap_lock", ["mmap_lock", "ksm_lock"], "The orders stay when locks are dropped."
    )


def test_a_tried_lock_is_not_ordered_after_the_held_locks(play: Play) -> None:
    play.lock("1", "ksm_lock")
    play.trylock("1", "mmap_lock")
    play.unlock("1", "mmap_lock", "ksm_lock")
    play.lock("2", "mmap_lock")
    play.lock(
        "2", "ksm_lock", None, "A thread that only tries a lock never waits for it. See hint 2."
    )


def test_a_lock_is_ordered_after_a_tried_lock(play: Play) -> None:
    play.trylock("1", "mmap_lock")
    play.lock("1", "page-table lock")
    play.unlock("1", "page-table lock", "mmap_lock")
    play.lock("2", "page-table lock")
    play.lock(
        "2",
        "mmap_lock",
        ["mmap_lock", "page-table lock"],
        "A lock is held, however it was taken.",
    )


def test_waiting_for_a_lock_that_the_thread_holds_is_reported(play: Play) -> None:
    play.lock("1", "ksm_lock")
    play.lock("1", "ksm_lock", ["ksm_lock"], "The thread waits for itself.")
