"""A model of the reverse mapping of anonymous pages. Complete find_entries() and unmap()."""

from dataclasses import dataclass, field

PAGE_SIZE = 4096


@dataclass(eq=False)
class Process:
    """A process and its page table, a dict: address of a page -> page."""

    name: str
    table: dict = field(default_factory=dict)


@dataclass(eq=False)
class Vma:
    """A range of addresses of a process, from `start` to the byte before `end`.

    `pgoff` is the index of its first page. mremap() changes `start` and `end`, but not `pgoff`.
    """

    process: Process
    start: int
    end: int
    pgoff: int


@dataclass(eq=False)
class AnonVma:
    """The VMAs in which an anonymous page can be mapped."""

    vmas: list[Vma] = field(default_factory=list)


@dataclass(eq=False)
class Page:
    """A page.

    `mapping` is its anon_vma, or None if the page is not anonymous. `index` is the address at which the page was first
    mapped, divided by PAGE_SIZE. `mapcount` is the number of page-table entries that map the page.
    """

    mapping: AnonVma | None
    index: int
    mapcount: int = 0


def find_entries(page):
    """Return the page-table entries that map a page: a list of pairs (process, address), in the order of the VMAs."""
    raise NotImplementedError


def unmap(page):
    """Remove each entry that find_entries() returns, as the kernel does before it swaps a page out.

    Return true if no entry maps the page any more.
    """
    raise NotImplementedError
