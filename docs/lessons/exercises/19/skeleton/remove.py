"""Areas and regions as in 2009, with a bug: whose region does remove() take away?"""

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
        for region in area.regions:
            for other in self.scanned:
                if other.process == region.process:
                    self.scanned.remove(other)
                    break
            area.regions.remove(region)
