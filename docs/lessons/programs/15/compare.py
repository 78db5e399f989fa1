"""What a merge costs the scanner: the kernel's own KSM and this driver, one after the other, on the same pages."""

import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path

from ksmlab import content, pagemap
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

PAGES = 4096
PASSES = 5
SECONDS = 400
MADV_MERGEABLE = 12
KERNEL = Path("/sys/kernel/mm/ksm")
CONTENTS: dict[str, Callable[[int], array]] = {
    "all equal": content.equal,
    "each twice": lambda pages: content.groups(pages, 2),
    "all different": content.unique,
}


def cpu_ms(name: str) -> float:
    """Return the CPU time of a kernel thread so far, in milliseconds."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        if comm.read_text() == f"{name}\n":
            return int(comm.with_name("schedstat").read_text().split()[0]) / 1e6
    raise RuntimeError(f"there is no {name}")


def passes(directory: Path) -> int:
    """Return how many passes there were."""
    return int((directory / "full_scans").read_text())


def wait_passes(directory: Path) -> None:
    """Wait until some passes are complete."""
    until = passes(directory) + PASSES
    end = time.monotonic() + SECONDS
    while passes(directory) < until:
        if time.monotonic() > end:
            sys.exit(f"{directory} scans too slowly")
        time.sleep(0.05)


def measure(kernel: bool, keys: array) -> tuple[float, int]:
    """Scan pages a few times; return the CPU time of the scanner in ms, and the number of frames left."""
    directory = KERNEL if kernel else KsmSysfs.find().directory
    with Arena(PAGES, huge=False) as arena, KsmDevice() as device, device.create_area() as area:
        arena.fill(keys)
        (directory / "pages_to_scan").write_text(str(PAGES))
        if kernel:
            arena.advise(MADV_MERGEABLE)
        else:
            (directory / "sleep").write_text("20000")
            area.register(arena)
        before = cpu_ms("ksmd" if kernel else "kksmd")
        (directory / "run").write_text("1")
        wait_passes(directory)
        spent = cpu_ms("ksmd" if kernel else "kksmd") - before
        frames = pagemap.distinct(pagemap.frames(None, arena.address, PAGES))
        # Unmerge all pages, then stop the scanner.
        (directory / "run").write_text("2")
        (directory / "run").write_text("0")
    return spent, frames


if __name__ == "__main__":
    for name, keys in CONTENTS.items():
        for kernel in (True, False):
            spent, frames = measure(kernel, keys(PAGES))
            who = "kernel's own" if kernel else "/dev/ksm"
            print(f"{name:14} {who:13} {frames:5} frames left  {spent:8.1f} ms")
