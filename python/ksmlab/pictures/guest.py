"""Merge the pages of an arena, and store their frames before the merge, after it, and after two writes.

Run it as root on a machine where the driver is loaded: ``python -m ksmlab.pictures.guest OUT.json --pages 96``.
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

#: The seconds within which all equal pages must have merged.
DEADLINE = 120.0
CANNOT_RUN = 2


def take(plan: Plan, ksm: KsmSysfs) -> Picture:
    """Create and merge an arena, and read its page frames at three moments.

    Args:
        plan: The contents of the arena.
        ksm: The driver, which must have merged no pages.

    Raises:
        WaitTimeoutError: The pages do not merge in time.
        OSError: The device or the page-frame numbers cannot be read.
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
    """Run the program.

    Returns:
        0 if the picture was stored, 2 if it could not be made.
    """
    parser = argparse.ArgumentParser(prog="python -m ksmlab.pictures.guest", description=__doc__)
    parser.add_argument("out", type=Path, help="the JSON file to write")
    parser.add_argument(
        "--pages", type=int, default=Plan.npages, help="the number of pages of the arena"
    )
    arguments = parser.parse_args(argv)
    try:
        ksm = KsmSysfs.find()
        if ksm.pages_shared or ksm.kernel_pages_allocated:
            print(
                "No picture can be made, because other programs have merged pages. Nothing was changed. "
                "End the programs that use /dev/ksm first."
            )
            return CANNOT_RUN
        picture = take(Plan(arguments.pages), ksm)
    except (SysfsError, WaitTimeoutError) as error:
        print(error)
        return CANNOT_RUN
    picture.write(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
