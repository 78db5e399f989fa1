"""Find out which of 200 pages another process has registered, by the time of writes to pages of this process."""

import time
from collections.abc import Sequence

from page import secret_page

from ksmlab.device import KsmDevice
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

ROUNDS = 5
# The passes of each round, in which the driver merges equal pages. All guesses may have the same sample. Before the
# first merge, the driver must find this out, so the first round has more passes.
FIRST_PASSES, PASSES = 20, 4
CANDIDATES = range(4000, 4200)


def write_times(arena: Arena, pages: Sequence[object]) -> list[int]:
    """Write zero to the last byte of each page, which is zero already; return the time of each write, in ns."""
    view = arena.view()
    clock = time.perf_counter_ns
    times = []
    for page in range(len(pages)):
        at = (page + 1) * PAGE_SIZE - 1
        start = clock()
        view[at] = 0
        times.append(clock() - start)
    return times


def main() -> None:
    """Register a page for each candidate. In each round, wait for merges, and time a write to each page."""
    ksm = KsmSysfs.find()
    begun = time.monotonic()
    # The first write of a round is slow for other reasons. So it goes to an extra page, and its time is ignored.
    pages = [b"first".ljust(PAGE_SIZE, b"\0"), *map(secret_page, CANDIDATES)]
    with (
        Arena(len(pages), huge=False) as arena,
        KsmDevice() as device,
        device.create_area() as area,
    ):
        arena.view()[:] = b"".join(pages)
        area.register(arena)
        least = [1 << 62] * len(pages)
        for done in range(ROUNDS):
            ksm.wait_full_scans(PASSES if done else FIRST_PASSES, 240)
            # Noise makes single writes slow. A shared page is merged before each round, so all writes to it are slow.
            least = [min(pair) for pair in zip(least, write_times(arena, pages), strict=True)]
    del least[0]
    usual = sorted(least)[len(least) // 2]
    slowest = max(range(len(least)), key=least.__getitem__)
    print(
        f"a write takes {usual} ns; the slowest of all {len(least)} guesses took {least[slowest]} ns"
    )
    seconds = f"{time.monotonic() - begun:.1f} s"
    if least[slowest] > 3 * usual:
        print(f"another process has the page with {CANDIDATES[slowest]}; the test took {seconds}")
    else:
        print(f"no other process has one of the pages; the test took {seconds}")


if __name__ == "__main__":
    main()
