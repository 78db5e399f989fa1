"""A small lockdep: record the order in which threads take locks, and report orders that can deadlock."""


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
        holds = self.held.setdefault(thread, [])
        path = self._path(lock, set(holds))
        for outer in holds:
            self.after.setdefault(outer, set()).add(lock)
        holds.append(lock)
        return path

    def trylock(self, thread, lock):
        """Record that a thread has taken a lock without waiting for it."""
        self.held.setdefault(thread, []).append(lock)

    def unlock(self, thread, lock):
        """Record that a thread has dropped a lock."""
        self.held[thread].remove(lock)

    def _path(self, start, ends):
        """Return the shortest recorded order from a lock to one of several others."""
        waiting, seen = [[start]], {start}
        while waiting:
            path = waiting.pop(0)
            if path[-1] in ends:
                return path
            for lock in sorted(self.after.get(path[-1], set()) - seen):
                seen.add(lock)
                waiting.append([*path, lock])
        return None
