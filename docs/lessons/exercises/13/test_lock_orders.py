"""Orders that lockdep reports, and orders that it does not report."""

from __future__ import annotations

import pytest
from lock_orders import LockOrders


class Threads:
    """Threads that take and drop locks, and their steps so far, for the messages."""

    def __init__(self) -> None:
        """Start without locks and steps."""
        self.orders = LockOrders()
        self.held: dict[str, list[str]] = {}
        self.steps: list[str] = []

    def lock(self, thread: str, lock: str, wanted: list[str] | None = None, why: str = "") -> None:
        """Let a thread wait for a lock and take it, and compare the order that the reader's code returns.

        Args:
            thread: the name of the thread.
            lock: the name of the lock.
            wanted: the order that lock() must return; None if there must be no report.
            why: the reason, and the section of the lesson that explains it. Without it, the message gives the
                definition: a report needs an earlier order that leads to a lock that the thread holds.
        """
        got = self.orders.lock(thread, lock)
        held = self.held.setdefault(thread, [])
        holds, steps = " and ".join(held) or "no lock", ", ".join(self.steps) or "none"
        assert got == wanted, (
            f"Steps of the threads so far: {steps}. Now thread {thread}, which holds {holds}, waits for {lock}. "
            f"Expected: {wanted}. lock() returned: {got}. "
            + (
                why
                or f"No earlier order leads from {lock} to a lock that the thread holds. See 'lockdep records the "
                "order'."
            )
        )
        held.append(lock)
        self.steps.append(f"{thread} takes {lock}")

    def trylock(self, thread: str, lock: str) -> None:
        """Try a lock, with success."""
        self.orders.trylock(thread, lock)
        self.held.setdefault(thread, []).append(lock)
        self.steps.append(f"{thread} tries {lock} and gets it")

    def unlock(self, thread: str, *locks: str) -> None:
        """Drop locks."""
        for lock in locks:
            self.orders.unlock(thread, lock)
            self.held[thread].remove(lock)
            self.steps.append(f"{thread} drops {lock}")


@pytest.fixture
def threads() -> Threads:
    return Threads()


def test_a_reversed_order_in_one_thread_is_reported(threads: Threads) -> None:
    threads.lock("1", "ksm_lock")
    threads.lock("1", "area->lock")
    threads.unlock("1", "area->lock", "ksm_lock")
    threads.lock("1", "area->lock")
    threads.lock(
        "1",
        "ksm_lock",
        ["ksm_lock", "area->lock"],
        "The thread has taken area->lock under ksm_lock before, and this is the opposite order. It does not matter "
        "that no thread had to wait. See 'A driver with the wrong order'.",
    )


def test_a_reversed_order_in_two_threads_is_reported(threads: Threads) -> None:
    threads.lock("1", "a")
    threads.lock("1", "b")
    threads.unlock("1", "b", "a")
    threads.lock("2", "b")
    threads.lock(
        "2",
        "a",
        ["a", "b"],
        "Thread 1 has taken b under a, and this is the opposite order. The recorded orders belong to the locks, not "
        "to the threads. See 'The order of locks'.",
    )


def test_the_same_order_is_never_reported(threads: Threads) -> None:
    locks = ("area->lock", "ksm_lock", "zone->lock")
    for thread in ("1", "2", "1"):
        for lock in locks:
            threads.lock(thread, lock)
        threads.unlock(thread, *locks)


def test_an_order_over_a_third_lock_is_reported(threads: Threads) -> None:
    for thread, outer, inner in (("1", "a", "b"), ("2", "b", "c")):
        threads.lock(thread, outer)
        threads.lock(thread, inner)
        threads.unlock(thread, inner, outer)
    threads.lock("3", "c")
    threads.lock(
        "3",
        "a",
        ["a", "b", "c"],
        "The order from a to b and the order from b to c together lead from a to c, which the thread holds. Follow "
        "the recorded orders from lock to lock. See 'Hint 2'.",
    )


def test_the_locks_of_other_threads_do_not_count(threads: Threads) -> None:
    threads.lock("1", "a")
    threads.lock("2", "b")
    threads.unlock("1", "a")
    threads.lock("1", "b")
    threads.lock(
        "2",
        "a",
        None,
        "No thread has held a or b while it waited for the other, so there is no order between them. Record the locks "
        "of each thread separately. See 'lockdep records the order'.",
    )


def test_a_dropped_lock_does_not_count(threads: Threads) -> None:
    threads.lock("1", "ksm_lock")
    threads.unlock("1", "ksm_lock")
    threads.lock("1", "mmap_lock")
    threads.lock(
        "1",
        "ksm_lock",
        None,
        "The thread had dropped ksm_lock before it waited for mmap_lock, so there is no order from ksm_lock to "
        "mmap_lock. See 'Look up, unlock, act, revalidate'.",
    )
    threads.unlock("1", "ksm_lock", "mmap_lock")
    threads.lock("2", "ksm_lock")
    threads.lock(
        "2",
        "mmap_lock",
        ["mmap_lock", "ksm_lock"],
        "Thread 1 has taken ksm_lock under mmap_lock, and this is the opposite order. An order stays recorded when "
        "its locks are dropped. See 'A driver with the wrong order'.",
    )


def test_a_tried_lock_is_not_ordered_after_the_held_locks(threads: Threads) -> None:
    threads.lock("1", "ksm_lock")
    threads.trylock("1", "mmap_lock")
    threads.unlock("1", "mmap_lock", "ksm_lock")
    threads.lock("2", "mmap_lock")
    threads.lock(
        "2",
        "ksm_lock",
        None,
        "Thread 1 has only tried mmap_lock under ksm_lock. A thread that tries a lock does not wait for it, so this "
        "is no order. See 'Never wait for a process under ksm_lock'.",
    )


def test_a_lock_is_ordered_after_a_tried_lock(threads: Threads) -> None:
    threads.trylock("1", "mmap_lock")
    threads.lock("1", "page-table lock")
    threads.unlock("1", "page-table lock", "mmap_lock")
    threads.lock("2", "page-table lock")
    threads.lock(
        "2",
        "mmap_lock",
        ["mmap_lock", "page-table lock"],
        "Thread 1 held mmap_lock when it waited for the page-table lock, so this is the opposite order. A lock that "
        "was tried is held like any other. See 'Hint 2'.",
    )


def test_waiting_for_a_lock_that_the_thread_holds_is_reported(threads: Threads) -> None:
    threads.lock("1", "ksm_lock")
    threads.lock(
        "1",
        "ksm_lock",
        ["ksm_lock"],
        "The thread waits for itself, which is a deadlock of one lock. The order from the lock to itself has one "
        "element. See 'The order of locks'.",
    )
