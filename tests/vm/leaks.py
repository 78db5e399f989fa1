"""Does the driver give back all that it takes? Objects are kmemleak's to find; here is what it does not know."""

from __future__ import annotations

import re
from pathlib import Path

ACCOUNTED = (
    "MemFree", "Buffers", "Cached", "SwapCached", "AnonPages", "Slab", "KernelStack", "PageTables",
    "SecPageTables", "Percpu", "VmallocUsed",
)  # fmt: skip


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
