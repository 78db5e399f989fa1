"""Register eight equal pages, merge and unmerge them, and remove them."""

from ksmlab import content
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

PAGES = 8


def main() -> None:
    """Use each lock of the driver at least once."""
    ksm = KsmSysfs.find()
    with Arena(PAGES, huge=False) as arena, KsmDevice().create_area() as area:
        arena.fill(content.equal(PAGES))
        area.register(arena)
        with ksm.settings(run=1):
            ksm.wait_until(lambda ksm: ksm.pages_shared == PAGES - 1, 60)
            # The work item that takes prune_lock runs every half second.
            ksm.wait_full_scans(50)
        ksm.run = 2
        ksm.run = 0
        area.remove()
    print(f"{PAGES} pages were merged, unmerged and removed")


main()
