"""A walk through four levels of page tables. Fill in walk()."""

from dataclasses import dataclass

PAGE = 1 << 12
SHIFTS = (39, 30, 21, 12)  # PGD, PUD, PMD, PTE


@dataclass(frozen=True)
class Page:
    """What the last entry maps; in a PMD, a huge page of 2 MiB."""

    frame: int


def walk(pgd: dict, address: int) -> tuple[int | None, int]:
    """Find the frame of an address.

    A table is a dict from index (0 to 511) to a table of the next level or a Page; what is
    missing is not in it. The frames of a huge page follow each other.

    Returns:
        The frame, or None if there is none; and the address at which to look next: of the next
        page, or behind the whole hole. A hole in an upper level is stepped over whole.
    """
    raise NotImplementedError
