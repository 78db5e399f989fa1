"""Print which lock orders of the driver lockdep has recorded."""

import re
from pathlib import Path

OWN = ("ksm_run_lock", "&area->lock", "prune_lock", "ksm_lock")
OTHERS = ("&mm->mmap_lock",)
CLASS = re.compile(r"[0-9a-f]+ .*: (?P<name>\S+)$")
INNER = re.compile(r" -> \[[0-9a-f]+\] (?P<name>\S+)")


def main() -> None:
    """Read /proc/lockdep, in which each lock is followed by those that were taken under it."""
    outer = ""
    orders = set()
    for line in Path("/proc/lockdep").read_text().splitlines():
        if found := CLASS.match(line):
            outer = found["name"]
        elif found := INNER.match(line):
            orders.add((outer, found["name"]))
    for outer in OWN:
        for inner in (*OWN, *OTHERS):
            if (outer, inner) in orders:
                print(f"{outer} -> {inner}")


main()
