"""What the bits of a page-table entry of x86-64 mean, and which way an address goes to its entry."""

BITS = {
    0: "present",
    1: "writable",
    2: "user",
    5: "accessed",
    6: "dirty",
    7: "huge",
    8: "global",
    11: "soft-dirty",
    58: "uffd_wp",
    63: "no-execute",
}
LEVELS = (("PGD", 39), ("PUD", 30), ("PMD", 21), ("PTE", 12))


def flags(entry: int) -> str:
    """Name the bits of an entry that are set."""
    return " ".join(name for bit, name in BITS.items() if entry >> bit & 1)


def frame(entry: int) -> int:
    """Give the frame that an entry maps: bits 12 to 51."""
    return entry >> 12 & (1 << 40) - 1


def way(address: int) -> dict[str, int]:
    """Give the index that an address has in the table of each level, and its offset in the page."""
    indexes = {level: address >> shift & 511 for level, shift in LEVELS}
    return indexes | {"offset": address & 4095}
