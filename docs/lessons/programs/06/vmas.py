"""The VMAs of a range of addresses, from /proc/self/maps."""

from __future__ import annotations


def vmas(address: int, pages: int) -> list[str]:
    """Return the permissions of each VMA in a range, and the number of pages that it has there."""
    end = address + 4096 * pages
    found = []
    with open("/proc/self/maps") as lines:
        for line in lines:
            limits, permissions, *_ = line.split()
            first, last = (int(limit, 16) for limit in limits.split("-"))
            common = (min(last, end) - max(first, address)) // 4096
            if common > 0:
                found.append(f"{permissions} {common}")
    return found
