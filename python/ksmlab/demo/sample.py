"""Choose the few pages of each process that the HTML page of the demonstration shows."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksmlab.demo.plan import Plan

#: The pages of one process that are equal in all processes. The process writes to half of them.
_ACROSS = 12
#: The contents that are repeated inside a process, and the pages with each.
_KINDS = 4
_OF_A_KIND = 5
#: The number of pages that are equal to no other page, and of pages that keep changing.
_OTHERS = 8


def pictured(plan: Plan) -> tuple[int, ...]:
    """Return the numbers of the pages to show, which are the same for all processes.

    Some of them are written to in the course of the demonstration, and some are not.
    """
    end = plan.written_parts[0].count
    across = range(max(0, end - _ACROSS // 2), end + _ACROSS // 2)
    part = plan.written_parts[1]
    kinds = min(_KINDS, plan.kinds)
    # A row has a page of each kind. Most of the rows that are shown are written to.
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
    """Return a letter for each shown page whose content other pages have as well.

    Args:
        plan: The contents of the processes.
        worker: The number of the process, from 0.
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
    """Return the shown pages that are written to, each as the number of the process and of the page."""
    ranges = [range(part.first, part.first + part.count) for part in plan.written_parts]
    return frozenset((0, page) for page in pictured(plan) if any(page in one for one in ranges))
