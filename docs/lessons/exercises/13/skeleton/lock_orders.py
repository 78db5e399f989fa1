"""A small lockdep: record the order in which threads take locks, and report orders that can deadlock.

Complete lock(), trylock() and unlock().
"""


class LockOrders:
    """The locks that threads hold, and the orders in which locks have been taken."""

    def __init__(self):
        """Start without threads and locks."""
        self.held = {}  # thread -> the locks that it holds, in the order in which it took them
        self.after = {}  # lock -> the locks for which a thread has waited while it held this one

    def lock(self, thread, lock):
        """Record that a thread waits for a lock, and then holds it.

        If the thread holds a lock, and an earlier order leads from `lock` to that one, two threads can deadlock.

        Returns:
            The earlier order, a list from `lock` to the lock that the thread holds; None if there is none.
        """
        raise NotImplementedError

    def trylock(self, thread, lock):
        """Record that a thread has taken a lock without waiting for it."""
        raise NotImplementedError

    def unlock(self, thread, lock):
        """Record that a thread has dropped a lock."""
        raise NotImplementedError
