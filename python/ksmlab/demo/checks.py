"""Check the claims of the demonstration by page-frame numbers."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from ksmlab import pagemap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ksmlab.demo.plan import Part, Plan


class CheckError(AssertionError):
    """A claim does not hold; the text has the expected and the actual value."""


class Checks:
    """Compares expected with actual values, and shows each check that passes.

    Args:
        show: Called as ``show(name, found)`` for each check that passes.

    Attributes:
        passed: The number of checks that have passed.
    """

    def __init__(self, show: Callable[[str, str], None]) -> None:
        self._show = show
        self.passed = 0

    def equal(self, name: str, expected: int, found: int, unit: str = "") -> None:
        """Check that a number has the expected value.

        Args:
            name: The claim.
            expected: The expected value.
            found: The actual value.
            unit: The unit, as text to append.

        Raises:
            CheckError: The values differ.
        """
        if found != expected:
            raise CheckError(
                f"{name}: expected {expected:,}, found {found:,}"
                f"{f' {unit}' if unit else ''}. The processes have been ended, and the settings restored. "
                "Next: see the kernel log (dmesg)"
            )
        self.passed += 1
        self._show(name, f"{found:,}{f' {unit}' if unit else ''}")


class Frames:
    """The page frames of all pages of all processes, at one moment.

    Args:
        plan: The contents of the processes.
        pfns: The page-frame numbers: a list for each process, with 0 for a page that is not present.
    """

    def __init__(self, plan: Plan, pfns: Sequence[Sequence[int]]) -> None:
        self._plan = plan
        self._pfns = pfns
        self._uses = Counter(itertools.chain.from_iterable(pfns))

    @classmethod
    def read(cls, plan: Plan, places: Sequence[tuple[int, int]]) -> Frames:
        """Read the page-frame numbers of all processes.

        Args:
            plan: The contents of the processes.
            places: For each process its PID and the address of its first page.
        """
        return cls(plan, [pagemap.frames(pid, addr, plan.npages) for pid, addr in places])

    def of(self, worker: int, part: Part) -> Sequence[int]:
        """Return the frames of a part of one process."""
        return self._pfns[worker][part.pages]

    def present(self) -> int:
        """Count the pages that are present."""
        return self._uses.total() - self._uses[0]

    def distinct(self) -> int:
        """Count the different frames."""
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
        """Count the pages of a part that do not share their frame with any other page of any process."""
        part = part_of_plan(self._plan)
        return sum(
            pfn != 0 and self._uses[pfn] == 1 for pfns in self._pfns for pfn in pfns[part.pages]
        )

    def same_as(self, earlier: Frames, worker: int, part: Part) -> int:
        """Count the pages in a part of one process that have the same frame as earlier."""
        pairs = zip(self.of(worker, part), earlier.of(worker, part), strict=True)
        return sum(now == then for now, then in pairs)
