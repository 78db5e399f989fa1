"""Register eight pages, remove them, and wait until the reaper has run."""

import time

from ksmlab import content
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena

PAGES = 8


def main() -> None:
    """No scanner is needed for this: ``run`` is 0."""
    with Arena(PAGES, huge=False) as arena, KsmDevice().create_area() as area:
        arena.fill(content.equal(PAGES))
        area.register(arena)
        area.remove()
        # The work item of reap.c runs every half second.
        time.sleep(3)
    print("removed")


main()
