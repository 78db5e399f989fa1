"""Where the pages of an arena are: in memory or in swap, and on which NUMA node."""

import re

from ksmlab import pagemap
from ksmlab.memory import Arena


def where(arena: Arena) -> dict[str, int]:
    """Count an arena's pages by where they are."""
    entries = pagemap.entries(None, arena.address, arena.npages)
    return {
        "in memory": sum(entry.present for entry in entries),
        "in swap": sum(entry.swapped for entry in entries),
    }


def nodes(arena: Arena) -> dict[int, int]:
    """Count an arena's pages by NUMA node, by /proc/self/numa_maps."""
    with open("/proc/self/numa_maps") as lines:
        for line in lines:
            if int(line.split()[0], 16) == arena.address:
                return {int(node): int(pages) for node, pages in re.findall(r" N(\d+)=(\d+)", line)}
    raise LookupError(f"nothing is mapped at {arena.address:#x}")
