"""Measure the memory that the driver uses, including memory that kmemleak does not track, to find leaks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksmlab.sysfs import KsmSysfs

NODES = Path("/sys/kernel/slab/devksm_node")
ACCOUNTED = (
    "MemFree", "Buffers", "Cached", "SwapCached", "AnonPages", "Slab", "KernelStack", "PageTables",
    "SecPageTables", "Percpu", "VmallocUsed",
)  # fmt: skip


def held(ksm: KsmSysfs) -> dict[str, int]:
    """Return the driver's own counters of its memory, and the number of nodes according to the slab allocator."""
    # Shrink the cache, since freed objects may still be in per-CPU slabs or in KASAN's quarantine.
    (NODES / "shrink").write_text("1")
    counted = {name: ksm.read(name) for name in ("kernel_pages_allocated", "metadata_bytes")}
    return counted | {"nodes": int((NODES / "objects").read_text().split()[0])}


def wait_until_held(ksm: KsmSysfs, wanted: dict[str, int], what: object) -> None:
    """Wait until the driver uses as much memory as before. A work item frees unused nodes with a delay.

    Args:
        ksm: The driver's settings and counters.
        wanted: An earlier result of :func:`held`.
        what: The preceding step, for the error message.

    Raises:
        WaitTimeoutError: The driver uses more or less memory after a minute.
    """
    ksm.wait_until(lambda now: held(now) == wanted, 60, f"{wanted} to be held after {what}")


def unaccounted_pages() -> int:
    """Return the number of used pages that /proc/meminfo does not list.

    Pages that the kernel allocates directly, rather than through the slab allocator, are among them.
    """
    # Add the per-CPU parts of the counters to the global ones.
    Path("/proc/sys/vm/stat_refresh").write_text("1")
    pairs = (line.split()[:2] for line in Path("/proc/meminfo").read_text().splitlines())
    kib = {name.rstrip(":"): int(value) for name, value in pairs}
    aside = re.findall(r"^ +count: +(\d+)", Path("/proc/zoneinfo").read_text(), re.MULTILINE)
    assert aside
    return (kib["MemTotal"] - sum(kib.get(name, 0) for name in ACCOUNTED)) // 4 - sum(
        map(int, aside)
    )
