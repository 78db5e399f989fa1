"""The accounts that change when a kernel page takes the place of a page. Fill in replace()."""

from dataclasses import dataclass, field


@dataclass
class Page:
    """A frame; freed when refs is 0."""

    anonymous: bool
    refs: int = 0
    mapcount: int = 0
    dirty: bool = False  # its content is newer than that in swap
    in_swap: bool = False  # a swap slot is kept for it


@dataclass
class Entry:
    """A page-table entry."""

    page: Page
    writable: bool = True
    dirty: bool = True
    soft_dirty: bool = False


@dataclass
class Process:
    """Its page table, and its rss."""

    entries: dict[int, Entry] = field(default_factory=dict)
    rss_anon: int = 0
    rss_file: int = 0


def replace(process: Process, address: int, kernel_page: Page) -> None:
    """Map the kernel page where another page is mapped; all accounts follow.

    The new entry is read-only and clean, and keeps the soft-dirty bit. If the old entry was
    dirty, the old page is from now on. A swap slot of a page that nobody maps any more is freed.
    """
    raise NotImplementedError
