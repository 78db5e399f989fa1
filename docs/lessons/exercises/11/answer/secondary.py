"""A model of a secondary MMU."""


class Secondary:
    """A second table. Faults copy entries from the primary table into it."""

    def __init__(self, primary):
        """Begin empty. primary is a dict from address to frame, which others change."""
        self.primary = primary
        self.table = {}
        self.changing = 0  # number of changes in progress
        self.sequence = 0  # number of changes that have ended

    def start(self, address):
        """Begin a change of the primary entry of an address."""
        self.changing += 1
        self.table.pop(address, None)

    def end(self):
        """End the change."""
        # KVM needs this order: a fault that finds no change in progress must find the new number.
        self.sequence += 1
        self.changing -= 1

    def may_enter(self, seen):
        """Return True if a fault may write its result into the table.

        Args:
            seen: self.sequence when the fault began.
        """
        return not self.changing and seen == self.sequence

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
