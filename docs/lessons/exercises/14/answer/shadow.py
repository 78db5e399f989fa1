"""A small KASAN: shadow memory for a heap, and a quarantine for freed objects."""

GRANULE = 8  # the number of bytes that one shadow byte describes
REDZONE = 0xFC  # shadow of memory that belongs to no object
FREED = 0xFB  # shadow of a freed object


class Heap:
    """A heap whose objects begin at multiples of the granule.

    A shadow byte of 0 says that all 8 bytes are accessible. A value from 1 to 7 says that only that number of bytes
    is accessible, from the first one on.
    """

    def __init__(self, size, quarantine):
        """Start without objects.

        Args:
            size: The size of the heap in bytes, a multiple of the granule.
            quarantine: The maximum number of objects in the quarantine.
        """
        self.shadow = [REDZONE] * (size // GRANULE)
        self.objects = {}  # address -> size of the object
        self.limit = quarantine
        self.quarantine = []  # addresses of freed objects, the oldest first
        self.reusable = []  # addresses whose objects have left the quarantine

    def allocate(self, address, size):
        """Make the bytes of an object accessible. The caller has chosen its address."""
        self.objects[address] = size
        for number in self._granules(address, size):
            self.shadow[number] = 0
        if size % GRANULE:
            self.shadow[(address + size) // GRANULE] = size % GRANULE

    def free(self, address):
        """Poison all granules of an object, and put the object at the end of the quarantine.

        If the quarantine then has more objects than its limit, the oldest leaves it: its address moves to `reusable`.
        """
        for number in self._granules(address, self.objects.pop(address)):
            self.shadow[number] = FREED
        self.quarantine.append(address)
        if len(self.quarantine) > self.limit:
            self.reusable.append(self.quarantine.pop(0))

    def check(self, address, size):
        """Check an access before it happens.

        Returns:
            None if all bytes are accessible; otherwise "use-after-free" or "out-of-bounds", by the shadow of the first
            byte that is not accessible.
        """
        for byte in range(address, address + size):
            shadow = self.shadow[byte // GRANULE]
            if shadow == FREED:
                return "use-after-free"
            if shadow == REDZONE or (shadow and byte % GRANULE >= shadow):
                return "out-of-bounds"
        return None

    def _granules(self, address, size):
        """Return the numbers of the granules that contain an object."""
        return range(address // GRANULE, (address + size + GRANULE - 1) // GRANULE)
