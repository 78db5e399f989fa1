"""Areas and regions as they should have been in 2009."""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Region:
    """A range of the memory of one process."""

    process: str
    start: int


@dataclass(eq=False)
class Area:
    """What a descriptor stands for."""

    regions: list[Region] = field(default_factory=list)


class Driver:
    """All regions, in the order in which they are scanned."""

    def __init__(self):
        """Begin with none."""
        self.scanned = []

    def register(self, area, process, start):
        """Add a region to an area."""
        region = Region(process, start)
        area.regions.append(region)
        self.scanned.append(region)

    def remove(self, area):
        """Take every region of an area out of the scan."""
        # The region itself, not one that looks like it; and a list that changes is not gone through.
        while area.regions:
            self.scanned.remove(area.regions.pop())
