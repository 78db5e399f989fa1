"""Write to each merged page, so that no later write is slow. Measure the time, and count the frames still saved."""

import statistics

from attacker import write_times

from ksmlab import content, pagemap
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

PAGES = 200


def main() -> None:
    """Merge equal pages, stop the scanner, write to each page twice, and start the scanner again."""
    ksm = KsmSysfs.find()
    with (
        Arena(PAGES, huge=False) as arena,
        KsmDevice() as device,
        device.create_area() as area,
    ):
        arena.fill(content.equal(PAGES))
        # The byte that will be written is there already, so the pages stay equal.
        write_times(arena, range(PAGES))
        area.register(arena)

        def tell(when: str, times: str = "") -> None:
            saved = PAGES - pagemap.distinct(pagemap.frames(None, arena.address, PAGES))
            print(f"{when}: {saved} frames saved{times}")

        ksm.wait_until(lambda ksm: ksm.pages_shared == PAGES - 1, 240)
        tell("merged")
        ksm.run = 0
        for when in ("after a write to each page", "after a second write to each page"):
            took = statistics.median(write_times(arena, range(PAGES)))
            tell(when, f", a write took {took:.0f} ns")
        ksm.run = 1
        # pages_shared is out of date until the scanner has visited the pages again.
        ksm.wait_full_scans(1, 240)
        ksm.wait_until(lambda ksm: ksm.pages_shared == PAGES - 1, 240)
        tell("some passes later")


if __name__ == "__main__":
    main()
