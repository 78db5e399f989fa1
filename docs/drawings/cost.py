"""What a page costs in a merge, in a full pass and in a steady pass: bars, from docs/data/bench-counted.json."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from drawings.canvas import WIDTH, Canvas
from ksmlab.bench.kept import COUNTED, KeptError, Measured
from ksmlab.bench.plan import IN_KERNEL, IN_KERNEL_PLAIN

NAME = "cost"
#: The clock of the VM counts this many nanoseconds for each instruction.
NS = 2
_LEFT, _RIGHT = 16.0, 62.0
_TOP, _TITLE, _LABEL, _BAR, _GAP = 104.0, 22.0, 17.0, 12.0, 9.0


@dataclass(frozen=True)
class Group:
    """Rows of the same figure.

    Attributes:
        name: the figure.
        metric: its name in the results.
        versus: the engine that the driver is compared with.
        rows: each workload, with the words for it.
    """

    name: str
    metric: str
    versus: str
    rows: tuple[tuple[str, str], ...]


_PYTHON = ("real_python", "two Python processes")
GROUPS = (
    Group("Merge", "cpu_to_goal_ns", IN_KERNEL, (("each_twice", "each page twice"), _PYTHON)),
    Group(
        "Full pass, no page left out",
        "full_pass_ns",
        IN_KERNEL_PLAIN,
        (("unique_random", "no equal pages"), _PYTHON),
    ),
    Group(
        "Steady pass",
        "steady_pass_ns",
        IN_KERNEL,
        (("unique_random", "no equal pages"), _PYTHON),
    ),
)


@dataclass(frozen=True)
class Pair:
    """Instructions per page.

    Attributes:
        label: the words for the workload.
        ours: those of this driver.
        in_kernel: those of in-kernel KSM.
    """

    label: str
    ours: float
    in_kernel: float


def pairs(results: Measured) -> list[list[Pair]]:
    """Look up the figures, group by group.

    Raises:
        KeptError: a figure was not measured, or the command does not tell the number of pages.
    """
    size = re.search(r"--size (\d+)", results.command)
    if size is None:
        raise KeptError(f"{COUNTED}: `{results.command}` has no --size. Nothing was drawn")
    found = {(one.workload, one.metric, one.versus): one for one in results.verdicts}
    groups: list[list[Pair]] = []
    for group in GROUPS:
        groups.append([])
        for workload, label in group.rows:
            one = found.get((workload, group.metric, group.versus))
            if one is None or one.ours is None or one.in_kernel is None:
                raise KeptError(f"{COUNTED} has no {group.metric} of {workload}. Nothing was drawn")
            unit = NS * int(size[1])
            groups[-1].append(Pair(label, one.ours / unit, one.in_kernel / unit))
    return groups


def short(count: float) -> str:
    """Write a number of instructions with two significant digits."""
    digits = max(0, math.floor(math.log10(count)) - 1)
    return f"{round(count, -digits):,.0f}"


def draw() -> str:
    """Return the SVG.

    Raises:
        ValueError: the results lack a figure.
    """
    try:
        groups = pairs(Measured.read(COUNTED))
    except KeptError as error:
        raise ValueError(str(error)) from None
    step = _LABEL + 2 * _BAR + _GAP
    bottom = _TOP + sum(_TITLE + len(group) * step for group in groups)
    told = " ".join(
        f"{group.name}: "
        + "; ".join(f"{p.label}, {short(p.in_kernel)} and {short(p.ours)}" for p in rows)
        + "."
        for group, rows in zip(GROUPS, groups, strict=True)
    )
    sheet = Canvas(
        bottom + 92,
        "Instructions per page",
        "Bar chart on a logarithmic axis: the instructions per page of in-kernel KSM and of this driver, on Linux "
        f"6.12. {told}",
    )
    sheet.text(_LEFT, 32, "Instructions per page", "head")
    sheet.text(_LEFT, 52, "counted on Linux 6.12; the axis is logarithmic", "dim small")
    sheet.box(_LEFT, 66, 14, 14, "two", 0).text(_LEFT + 22, 78, "in-kernel KSM", "small")
    sheet.box(_LEFT + 134, 66, 14, 14, "one", 0).text(_LEFT + 156, 78, "this driver", "small")
    values = [value for rows in groups for pair in rows for value in (pair.ours, pair.in_kernel)]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    room = WIDTH - _LEFT - _RIGHT

    def across(value: float) -> float:
        return _LEFT + room * (math.log10(value) - low) / (high - low)

    for power in range(low, high + 1):
        x = across(10**power)
        sheet.line((x, _TOP), (x, bottom), css="grid")
        side = {low: "", high: "end"}.get(power, "middle")
        sheet.text(x, bottom + 18, f"{10**power:,}", f"dim small {side}".rstrip())
    y = _TOP
    for group, rows in zip(GROUPS, groups, strict=True):
        sheet.text(_LEFT, y + 15, group.name, "strong")
        y += _TITLE
        for pair in rows:
            sheet.text(_LEFT, y + 12, pair.label, "small")
            for number, (value, css) in enumerate(((pair.in_kernel, "two"), (pair.ours, "one"))):
                top = y + _LABEL + number * _BAR
                sheet.box(_LEFT, top, across(value) - _LEFT, _BAR - 1, css, 0)
                sheet.text(across(value) + 6, top + _BAR - 2, short(value), "small")
            y += step
    sheet.lines(
        _LEFT,
        bottom + 46,
        "A merge happens once for each page, a pass again and\n"
        "again. In a steady pass, both engines skip most pages.",
        "dim small",
        18,
    )
    return sheet.svg()
