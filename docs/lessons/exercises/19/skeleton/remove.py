"""Areas and regions as in 2009. remove() has two bugs. Fix them."""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Region:
    """A range of the memory of one process."""

    process: str
    start: int


@dataclass(eq=False)
class Area:
    """An area: the regions that were registered with one descriptor."""

    regions: list[Region] = field(default_factory=list)


class Driver:
    """The driver, with all regions in the order of the scan."""

    def __init__(self):
        """Start without regions."""
        self.scanned = []

    def register(self, area, process, start):
        """Register a region in an area."""
        region = Region(process, start)
        area.regions.append(region)
        self.scanned.append(region)

    def remove(self, area):
        """Remove all regions of an area, so that they are not scanned any more."""
        for region in area.regions:
            for other in self.scanned:
                if other.process == region.process:
                    self.scanned.remove(other)
                    break
            area.regions.remove(region)
