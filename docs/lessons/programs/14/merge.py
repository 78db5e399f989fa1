"""Register three equal pages, and wait until they are merged."""

from ksmlab import content
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

PAGES = 3


def main() -> None:
    """Let the scanner find the pages in one batch."""
    ksm = KsmSysfs.find()
    with Arena(PAGES, huge=False) as arena, KsmDevice().create_area() as area:
        arena.fill(content.equal(PAGES))
        area.register(arena)
        with ksm.settings(run=1):
            ksm.wait_until(lambda ksm: ksm.pages_shared == PAGES - 1, 60)


main()
