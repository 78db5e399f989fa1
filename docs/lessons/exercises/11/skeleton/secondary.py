"""A model of KVM, a secondary MMU. Complete start(), end() and may_write()."""


class Secondary:
    """KVM's table for a guest. Faults copy entries of the primary table, that of the process, into it."""

    def __init__(self, primary):
        """Start with an empty table of KVM. `primary` is a dict from address to frame; its entries change."""
        self.primary = primary
        self.table = {}  # KVM's table, also from address to frame
        self.changing = 0  # the number of changes in progress
        self.sequence = 0  # the number of changes that have ended

    def start(self, address):
        """Prepare for a change of the primary entry of an address."""
        raise NotImplementedError

    def end(self):
        """Record that the change has ended."""
        raise NotImplementedError

    def may_write(self, seen):
        """Return True if a fault may write its result into the table.

        Args:
            seen: the value of self.sequence when the fault began.
        """
        raise NotImplementedError

    def fault(self, address):
        """Copy the entry of an address. At each yield, a change may run."""
        while True:
            seen = self.sequence
            yield
            frame = self.primary.get(address)
            yield
            if self.may_write(seen):
                if frame is not None:
                    self.table[address] = frame
                return
            yield
