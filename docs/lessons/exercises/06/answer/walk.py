"""A walk through four levels of page tables."""

from dataclasses import dataclass

PAGE = 1 << 12
SHIFTS = (39, 30, 21, 12)  # PGD, PUD, PMD, PTE


@dataclass(frozen=True)
class Page:
    """What the last entry maps; in a PMD, a huge page of 2 MiB."""

    frame: int


def walk(pgd: dict, address: int) -> tuple[int | None, int]:
    """Find the frame of an address, and the address at which to look next."""
    entry = pgd
    for shift in SHIFTS:
        entry = entry.get(address >> shift & 511)
        if entry is None:
            return None, (address >> shift) + 1 << shift
        if isinstance(entry, Page):
            within = (address & (1 << shift) - 1) // PAGE
            return entry.frame + within, (address // PAGE + 1) * PAGE
    raise AssertionError("a table where a page should be")
