"""What the demonstration claims, and how frame numbers prove it."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from ksmlab import pagemap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ksmlab.demo.plan import Part, Plan


class CheckError(AssertionError):
    """A claim does not hold; the text names what is expected and what is found."""


class Checks:
    """Compares, and shows each comparison that holds."""

    def __init__(self, show: Callable[[str, str], None]) -> None:
        """Show checks that pass with ``show(name, found)``."""
        self._show = show
        self.passed = 0

    def equal(self, name: str, expected: int, found: int, unit: str = "") -> None:
        """Check a number.

        Args:
            name: the claim.
            expected: what it must be.
            found: what it is.
            unit: what is counted.

        Raises:
            CheckError: they differ.
        """
        if found != expected:
            raise CheckError(
                f"{name}: expected {expected:,}, found {found:,}"
                f"{f' {unit}' if unit else ''}. The processes are ended, and the settings put back. "
                "Next: look at the kernel log (dmesg)"
            )
        self.passed += 1
        self._show(name, f"{found:,}{f' {unit}' if unit else ''}")


class Frames:
    """The frame of every page of every process, at one moment."""

    def __init__(self, plan: Plan, pfns: Sequence[Sequence[int]]) -> None:
        """Keep the frames: one list for each process, 0 for a page that is not present."""
        self._plan = plan
        self._pfns = pfns
        self._uses = Counter(itertools.chain.from_iterable(pfns))

    @classmethod
    def read(cls, plan: Plan, places: Sequence[tuple[int, int]]) -> Frames:
        """Read them.

        Args:
            plan: what the processes hold.
            places: process and address of the first page, for each process.
        """
        return cls(plan, [pagemap.frames(pid, addr, plan.npages) for pid, addr in places])

    def of(self, worker: int, part: Part) -> Sequence[int]:
        """Return the frames of a part of one process."""
        return self._pfns[worker][part.pages]

    def present(self) -> int:
        """Count the pages that are there."""
        return self._uses.total() - self._uses[0]

    def distinct(self) -> int:
        """Count the frames."""
        return pagemap.distinct(self._uses)

    def pages_with_one_frame(self) -> int:
        """Count the pages that have one frame in all processes."""
        part = self._plan.across_part
        columns = zip(*(pfns[part.pages] for pfns in self._pfns), strict=True)
        return sum(len(set(column)) == 1 and column[0] != 0 for column in columns)

    def kinds_with_one_frame(self) -> int:
        """Count the kinds whose pages in one process have one frame, and add up the counts of all processes."""
        part, kinds = self._plan.inside_part, self._plan.kinds
        found = 0
        for pfns in self._pfns:
            inside = pfns[part.pages]
            groups = (set(inside[kind::kinds]) for kind in range(kinds))
            found += sum(len(group) == 1 and 0 not in group for group in groups)
        return found

    def own(self, part_of_plan: Callable[[Plan], Part]) -> int:
        """Count the pages of a part whose frame no other page of any process has."""
        part = part_of_plan(self._plan)
        return sum(
            pfn != 0 and self._uses[pfn] == 1 for pfns in self._pfns for pfn in pfns[part.pages]
        )

    def same_as(self, earlier: Frames, worker: int, part: Part) -> int:
        """Count the pages of a part of one process that are where they were."""
        pairs = zip(self.of(worker, part), earlier.of(worker, part), strict=True)
        return sum(now == then for now, then in pairs)
