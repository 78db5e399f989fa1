"""The pages that the demonstration's page shows: few enough to be looked at one by one."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksmlab.demo.plan import Plan

#: Pages of one process that are equal in all; half of them get written.
_ACROSS = 12
#: Contents that are equal inside a process, and pages with each.
_KINDS = 4
_OF_A_KIND = 5
#: Pages that are equal to no other, and pages that keep changing: so many of each.
_OTHERS = 8


def pictured(plan: Plan) -> tuple[int, ...]:
    """Return the numbers of the pages that are shown, the same of every process.

    They lie on both sides of where the written pages end.
    """
    end = plan.written_parts[0].count
    across = range(max(0, end - _ACROSS // 2), end + _ACROSS // 2)
    part = plan.written_parts[1]
    kinds = min(_KINDS, plan.kinds)
    # Rows of all kinds; of the rows that are shown, most get written.
    row = max(0, part.count // plan.kinds - _OF_A_KIND // 2)
    inside = [
        plan.inside_part.first + (row + times) * plan.kinds + kind
        for kind in range(kinds)
        for times in range(_OF_A_KIND)
    ]
    alone = range(plan.alone_part.first, plan.alone_part.first + _OTHERS)
    changing = range(plan.changing_part.first, plan.changing_part.first + _OTHERS)
    return (*across, *inside, *alone, *changing)


def labels(plan: Plan, worker: int) -> dict[int, str]:
    """Name the contents that several of the shown pages have, by page.

    Args:
        plan: what the processes hold.
        worker: number of the process, from 0.
    """
    keys = plan.keys(worker)
    across = [page for page in pictured(plan) if page < plan.inside_part.first]
    found = dict(zip(across, string.ascii_uppercase, strict=False))
    names: dict[int, str] = {}
    part = plan.inside_part
    inside = [page for page in pictured(plan) if page in range(part.first, plan.alone_part.first)]
    for page in inside:
        names.setdefault(keys[page], string.ascii_lowercase[worker * _KINDS + len(names)])
        found[page] = names[keys[page]]
    return found


def written(plan: Plan) -> frozenset[tuple[int, int]]:
    """Return which of the shown pages get written, as number of the process and page."""
    ranges = [range(part.first, part.first + part.count) for part in plan.written_parts]
    return frozenset((0, page) for page in pictured(plan) if any(page in one for one in ranges))
