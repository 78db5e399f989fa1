"""Does the driver give back all that it takes? Objects are kmemleak's to find; here is what it does not know."""

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
    """Return what the driver holds, as it counts itself; and how many nodes there are, as the allocator does."""
    # What has been freed may wait with a CPU, or in quarantine.
    (NODES / "shrink").write_text("1")
    counted = {name: ksm.read(name) for name in ("kernel_pages_allocated", "metadata_bytes")}
    return counted | {"nodes": int((NODES / "objects").read_text().split()[0])}


def wait_until_held(ksm: KsmSysfs, wanted: dict[str, int], what: object) -> None:
    """Wait until the driver holds something again: a work item frees unused nodes.

    Args:
        ksm: The driver's settings and counters.
        wanted: What :func:`held` returned before.
        what: The step after which it has to be so.

    Raises:
        WaitTimeoutError: It holds something else after a minute.
    """
    ksm.wait_until(lambda now: held(now) == wanted, 60, f"{wanted} to be held after {what}")


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
