"""The guest's half: let an arena merge, look at it before, after, and after a write, and store what was seen.

It runs where the driver is loaded, as root: ``python -m ksmlab.pictures.guest OUT.json --pages 96``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.pictures.look import Place, look
from ksmlab.pictures.model import Picture
from ksmlab.pictures.plan import Plan
from ksmlab.sysfs import KsmSysfs, Run, SysfsError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds until everything that is equal must have merged.
DEADLINE = 120.0
CANNOT_RUN = 2


def take(plan: Plan, ksm: KsmSysfs) -> Picture:
    """Make an arena, and look at it three times.

    Args:
        plan: what it holds.
        ksm: the driver, with nothing merged.

    Raises:
        WaitTimeoutError: the pages do not merge in time.
        OSError: the device or the page-frame numbers are not to be had.
    """
    written = plan.written()
    with (
        KsmDevice() as device,
        device.create_area() as area,
        Arena(plan.npages, huge=False) as arena,
        ksm.settings(pages_to_scan=plan.npages, sleep=1000, max_kernel_pages=0, run=Run.SCAN),
    ):
        place = Place("", None, arena.address, range(plan.npages), plan.labels())
        arena.fill(plan.keys())
        before = look("before the merge", [place])
        area.register(arena)
        ksm.wait_until(
            lambda now: now.pages_shared == plan.pages_shared, DEADLINE, "all equal pages to merge"
        )
        after = look("after the merge", [place])
        for page in written:
            arena.write(page, b"written")
        at_last = look("after two writes", [place], {(0, page) for page in written})
    return Picture("", os.uname().release, (before, after, at_last))


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a program.

    Returns:
        0 when the picture is stored, 2 when it cannot be taken.
    """
    parser = argparse.ArgumentParser(prog="python -m ksmlab.pictures.guest", description=__doc__)
    parser.add_argument("out", type=Path, help="where the picture goes, as JSON")
    parser.add_argument("--pages", type=int, default=Plan.npages, help="pages of the arena")
    arguments = parser.parse_args(argv)
    try:
        ksm = KsmSysfs.find()
        if ksm.pages_shared or ksm.kernel_pages_allocated:
            print("Something is merged already; nothing is changed. End what uses /dev/ksm first.")
            return CANNOT_RUN
        picture = take(Plan(arguments.pages), ksm)
    except (SysfsError, WaitTimeoutError) as error:
        print(error)
        return CANNOT_RUN
    picture.write(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
