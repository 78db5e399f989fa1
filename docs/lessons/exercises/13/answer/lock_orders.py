"""A small lockdep: record the order in which threads take locks, and report orders that can deadlock."""


class LockOrders:
    """The locks that threads hold, and the orders in which locks have been taken."""

    def __init__(self):
        """Start without threads and locks."""
        self.held = {}  # thread -> the locks that it holds, in the order in which it took them
        self.after = {}  # lock -> the locks for which a thread has waited while it held this one

    def lock(self, thread, lock):
        """Record that a thread waits for a lock, and then holds it.

        Recorded orders form chains: a before b, and b before c. If a chain leads from `lock` to a lock that the thread
        holds, this wait can end in a deadlock. The new orders are recorded in both cases.

        Returns:
            The shortest such chain, a list from `lock` to the lock that the thread holds; None if there is none. If the
            thread already holds `lock`, the list is [lock].
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
