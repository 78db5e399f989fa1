"""Does the driver give back all that it takes?"""

from __future__ import annotations

import errno
import gzip
import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KMEMLEAK = Path("/sys/kernel/debug/kmemleak")
#: kmemleak reports nothing that is younger than 5 s (mm/kmemleak.c).
YOUNG_SECONDS = 6.0
ACCOUNTED = (
    "MemFree", "Buffers", "Cached", "SwapCached", "AnonPages", "Slab", "KernelStack", "PageTables",
    "SecPageTables", "Percpu", "VmallocUsed",
)  # fmt: skip


def _tell(command: str) -> bool:
    """Write to kmemleak; return False where it is not there, or is switched off."""
    if not KMEMLEAK.exists():
        return False
    try:
        KMEMLEAK.write_text(command)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EPERM):
            return False
        raise
    return True


def kasan() -> bool:
    """Say whether the kernel was built with KASAN; one that does not show how it was built was not."""
    config = Path("/proc/config.gz")
    return config.exists() and b"\nCONFIG_KASAN=y\n" in gzip.decompress(config.read_bytes())


def unaccounted_pages() -> int:
    """Return how many pages are in use that no figure of /proc/meminfo names.

    What the kernel allocates by the page and not by the object is among them.
    """
    # Into the figures goes what each CPU still keeps to itself.
    Path("/proc/sys/vm/stat_refresh").write_text("1")
    pairs = (line.split()[:2] for line in Path("/proc/meminfo").read_text().splitlines())
    kib = {name.rstrip(":"): int(value) for name, value in pairs}
    aside = re.findall(r"^ +count: +(\d+)", Path("/proc/zoneinfo").read_text(), re.MULTILINE)
    assert aside
    return (kib["MemTotal"] - sum(kib.get(name, 0) for name in ACCOUNTED)) // 4 - sum(
        map(int, aside)
    )


@contextmanager
def no_leaks() -> Iterator[None]:
    """Have kmemleak look for what was lost in the block, where the kernel has it.

    Raises:
        AssertionError: its report.
    """
    if not _tell("scan") or not _tell("clear"):
        yield
        return
    yield
    end = time.monotonic() + YOUNG_SECONDS
    while time.monotonic() < end:
        _tell("scan")
    # Of an object whose content changes, the next scan decides.
    _tell("scan")
    report = KMEMLEAK.read_text()
    assert not report, report
