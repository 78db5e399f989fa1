"""What the demonstration's processes hold, and which frames that must come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab import content

if TYPE_CHECKING:
    from array import array

# Keys of one process that are equal to no other of its keys start here.
_UNIQUE = 1 << 20
_WRITTEN = 2 << 20
_CHANGING = 3 << 20


@dataclass(frozen=True)
class Part:
    """A run of pages of each process: ``count`` of them from page ``first`` on."""

    first: int
    count: int

    @property
    def pages(self) -> slice:
        """The same as a slice of a list with one entry for each page."""
        return slice(self.first, self.first + self.count)


@dataclass(frozen=True)
class Plan:
    """How many pages of each kind every process has.

    Attributes:
        workers: processes.
        across: pages equal to the same page of every other process, and to no other.
        inside: pages equal to others of the same process.
        kinds: different contents among those.
        alone: pages equal to no other.
        changing: pages that get a new content all the time.
        writes: merged pages that one process writes, half of them of each kind.
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
        """Pages of one process."""
        return self.across + self.inside + self.alone + self.changing

    @property
    def total(self) -> int:
        """Pages of all processes, and so the frames before anything merges."""
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
        """The pages that are equal to no other."""
        return Part(self.across + self.inside, self.alone)

    @property
    def changing_part(self) -> Part:
        """The pages that keep changing."""
        return Part(self.across + self.inside + self.alone, self.changing)

    @property
    def written_parts(self) -> tuple[Part, Part]:
        """The merged pages that get written."""
        half = self.writes // 2
        return Part(0, half), Part(self.across, self.writes - half)

    @property
    def kernel_pages(self) -> int:
        """Kernel pages, once everything that is equal has merged."""
        return self.across + self.workers * self.kinds

    @property
    def pages_shared(self) -> int:
        """Frames saved, once everything that is equal has merged."""
        return self.workers * (self.across + self.inside) - self.kernel_pages

    @property
    def frames(self) -> int:
        """Frames in use, once everything that is equal has merged."""
        return self.total - self.pages_shared

    def keys(self, worker: int) -> array[int]:
        """Return the keys of a process's pages, as they are at first.

        Args:
            worker: its number, from 0.
        """
        own = content.cycle(self.inside, self.kinds) + content.unique(self.alone, _UNIQUE)
        return (
            content.salted(content.unique(self.across), 0)
            + content.salted(own, worker + 1)
            + self.changing_keys(worker, 0)
        )

    def changing_keys(self, worker: int, generation: int) -> array[int]:
        """Return keys for the pages that keep changing; no generation repeats another."""
        first = _CHANGING + generation * self.changing
        return content.salted(content.unique(self.changing, first), worker + 1)

    def written_keys(self, worker: int, part: Part) -> array[int]:
        """Return keys for merged pages that get written; no page repeats another."""
        return content.salted(content.unique(part.count, _WRITTEN + part.first), worker + 1)
