"""The contents of the demonstration's processes, and the results to expect after a merge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab import content

if TYPE_CHECKING:
    from array import array

# The first keys of pages that are unique, of pages that are written to, and of pages that keep changing.
_UNIQUE = 1 << 20
_WRITTEN = 2 << 20
_CHANGING = 3 << 20


@dataclass(frozen=True)
class Part:
    """A range of pages of each process: ``count`` pages, starting with page ``first``."""

    first: int
    count: int

    @property
    def pages(self) -> slice:
        """The range as a slice of a list with one entry for each page."""
        return slice(self.first, self.first + self.count)


@dataclass(frozen=True)
class Plan:
    """The numbers of processes and of their pages.

    Attributes:
        workers: The number of processes.
        across: Pages that are equal to the page with the same number in all other processes, and to no other page.
        inside: Pages that are equal to other pages of the same process only.
        kinds: The number of different contents of the pages in `inside`.
        alone: Pages that are equal to no other page.
        changing: Pages whose content changes all the time.
        writes: The merged pages to which one process writes, half of them in `across` and half in `inside`.
    """

    workers: int = 3
    across: int = 8192
    inside: int = 4096
    kinds: int = 64
    alone: int = 3072
    changing: int = 1024
    writes: int = 1000

    @property
    def npages(self) -> int:
        """The number of pages of one process."""
        return self.across + self.inside + self.alone + self.changing

    @property
    def total(self) -> int:
        """The number of pages of all processes, which is the number of frames before the merge."""
        return self.workers * self.npages

    @property
    def across_part(self) -> Part:
        """The pages that are equal in all processes."""
        return Part(0, self.across)

    @property
    def inside_part(self) -> Part:
        """The pages that are equal within a process."""
        return Part(self.across, self.inside)

    @property
    def alone_part(self) -> Part:
        """The pages that are equal to no other page."""
        return Part(self.across + self.inside, self.alone)

    @property
    def changing_part(self) -> Part:
        """The pages that keep changing."""
        return Part(self.across + self.inside + self.alone, self.changing)

    @property
    def written_parts(self) -> tuple[Part, Part]:
        """The merged pages to which one process writes."""
        half = self.writes // 2
        return Part(0, half), Part(self.across, self.writes - half)

    @property
    def kernel_pages(self) -> int:
        """The number of kernel pages after all equal pages have merged."""
        return self.across + self.workers * self.kinds

    @property
    def pages_shared(self) -> int:
        """The number of frames saved after all equal pages have merged."""
        return self.workers * (self.across + self.inside) - self.kernel_pages

    @property
    def frames(self) -> int:
        """The number of frames in use after all equal pages have merged."""
        return self.total - self.pages_shared

    def keys(self, worker: int) -> array[int]:
        """Return the initial keys of a process's pages.

        Args:
            worker: The number of the process, from 0.
        """
        own = content.cycle(self.inside, self.kinds) + content.unique(self.alone, _UNIQUE)
        return (
            content.salted(content.unique(self.across), 0)
            + content.salted(own, worker + 1)
            + self.changing_keys(worker, 0)
        )

    def changing_keys(self, worker: int, generation: int) -> array[int]:
        """Return keys for the pages that keep changing. The keys of each generation are new."""
        first = _CHANGING + generation * self.changing
        return content.salted(content.unique(self.changing, first), worker + 1)

    def written_keys(self, worker: int, part: Part) -> array[int]:
        """Return keys for merged pages to which a process writes. All keys are different."""
        return content.salted(content.unique(part.count, _WRITTEN + part.first), worker + 1)
