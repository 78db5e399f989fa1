"""Eight registered pages, of which six are equal; for an interactive session."""

from ksmlab import content
from ksmlab.device import Area, KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

PAGES = 8


def merged() -> tuple[Arena, Area]:
    """Let the scanner merge the equal pages, and stop it."""
    ksm = KsmSysfs.find()
    arena = Arena(PAGES, huge=False)
    arena.fill(content.equal(PAGES))
    arena.write(2, b"own")
    arena.write(5, b"mine")
    area = KsmDevice().create_area()
    area.register(arena)
    with ksm.settings(run=1):
        ksm.wait_until(lambda ksm: ksm.pages_shared == PAGES - 3, 60)
        ksm.wait_full_scans(3)
    return arena, area
