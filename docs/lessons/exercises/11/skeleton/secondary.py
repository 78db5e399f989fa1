"""A secondary MMU. Fill in start(), end() and may_enter()."""


class Secondary:
    """A table of its own, filled by faults from the primary one."""

    def __init__(self, primary):
        """Begin empty. primary is a dict from address to frame, which others change."""
        self.primary = primary
        self.table = {}
        self.changing = 0  # how many changes are under way
        self.sequence = 0  # how many have ended

    def start(self, address):
        """Begin a change of the primary entry of an address."""
        raise NotImplementedError

    def end(self):
        """End the change."""
        raise NotImplementedError

    def may_enter(self, seen):
        """Say whether what a fault has looked up may be entered.

        Args:
            seen: self.sequence when the fault began.
        """
        raise NotImplementedError

    def fault(self, address):
        """Fill the entry of an address; each yield is a moment at which others may run."""
        while True:
            seen = self.sequence
            yield
            frame = self.primary.get(address)
            yield
            if self.may_enter(seen):
                if frame is not None:
                    self.table[address] = frame
                return
            yield
