"""Compare the frames that are saved if the driver merges each owner's memory alone, and both together."""

import contextlib

from ksmlab.bench.reality import two_pythons
from ksmlab.device import KsmDevice
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

PAGES = 4096
# After this number of passes, the driver merges no more pages.
PASSES = 12


def saved(*owners: bytes) -> int:
    """Register the memory of some owners, wait until it has merged, and return how many frames that saves."""
    ksm = KsmSysfs.find()
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(KsmDevice())
        for content in owners:
            arena = stack.enter_context(Arena(len(content) // PAGE_SIZE, huge=False))
            arena.view()[:] = content
            area = stack.enter_context(device.create_area())
            area.register(arena)
        ksm.wait_full_scans(PASSES, 240)
        return ksm.pages_shared


def main() -> None:
    """Take anonymous memory of two Python processes, half of the pages from each."""
    content = two_pythons(PAGES)
    half = len(content) // 2
    one, other = content[:half], content[half:]
    pages = half // PAGE_SIZE
    print(f"of {pages} + {pages} pages, each owner alone: {saved(one)} + {saved(other)} saved")
    print(f"of {2 * pages} pages, both owners together: {saved(one, other)} saved")


if __name__ == "__main__":
    main()
