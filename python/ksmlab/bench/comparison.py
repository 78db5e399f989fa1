"""Write the table and the chart of README.md, from the stored results of the benchmark.

    python -m ksmlab.bench.comparison

replaces the table in README.md and draws docs/images/performance.svg. Both show the same ratios: counted in
instructions (docs/data/bench-counted.json) and timed (docs/data/bench-results.json).
"""

from __future__ import annotations

import math
import re
import sys
import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.bench.kept import COUNTED, DATA, KeptError, Measured
from ksmlab.bench.metrics import METRICS
from ksmlab.bench.plan import IN_KERNEL, IN_KERNEL_PLAIN
from ksmlab.lab import CHECKOUT
from ksmlab.pictures.render import environment
from ksmlab.pictures.shapes import Plot, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.bench.targets import Verdict

README = CHECKOUT / "README.md"
CHART = CHECKOUT / "docs/images/performance.svg"
SERIES = "6.12"
KERNEL = f"debian-{SERIES}"
BLOCK = re.compile(
    r"(?<=<!-- Written by python -m ksmlab\.bench\.comparison -->\n).*?(?=<!-- end -->)", re.DOTALL
)
TITLE = f"CPU time of in-kernel KSM divided by CPU time of this driver, Linux {SERIES}"

# The chart, in SVG user units. At 390 pixels, the width of a phone, they are nearly pixels.
_WIDTH, _MARGIN, _VALUE = 420, 14, 56
_TOP, _LABEL, _BAR, _GAP, _AXIS = 100, 19, 11, 10, 24
_LARGEST = 200

# Columns of a line of README.md.
_LINE = 120


@dataclass(frozen=True)
class Row:
    """A target that the table shows.

    Attributes:
        label: The name of the row, for readers who do not know the names of workloads.
        workload: A name of workloads.py.
        metric: A name of metrics.py.
        versus: The value that the driver is compared with, as in targets.toml.
        charted: Whether the chart shows it as well.
    """

    label: str
    workload: str
    metric: str
    versus: str = IN_KERNEL
    charted: bool = True


ROWS = (
    Row("merge: all pages equal", "all_equal", "cpu_to_goal_ns"),
    Row("merge: each page twice", "each_twice", "cpu_to_goal_ns"),
    Row("merge: two copies of `/usr` files", "real_files", "cpu_to_goal_ns"),
    Row("merge: two Python processes", "real_python", "cpu_to_goal_ns"),
    Row("idle pass: no equal pages", "unique_random", "steady_pass_ns"),
    Row("idle pass: pages differ in 8 bytes", "common_prefix", "steady_pass_ns"),
    Row("idle pass: sparse memory", "sparse", "steady_pass_ns"),
    Row("full pass: no equal pages", "unique_random", "full_pass_ns", IN_KERNEL_PLAIN),
    Row("full pass: pages differ in 8 bytes", "common_prefix", "full_pass_ns", IN_KERNEL_PLAIN),
    Row("full pass: sparse memory", "sparse", "full_pass_ns", IN_KERNEL_PLAIN),
    Row("merge, wall-clock time: all pages equal", "all_equal", "wall_to_goal_ns", charted=False),
    Row("metadata: each page twice", "each_twice", "metadata_per_page", charted=False),
    Row("metadata: sparse memory", "sparse", "metadata_per_page", charted=False),
)
#: The words for missed targets in the sentence below the table, by metric and what they are compared with.
KINDS = {
    ("cpu_to_goal_ns", IN_KERNEL): "in CPU time",
    ("wall_to_goal_ns", IN_KERNEL): "in wall-clock time",
    ("metadata_per_page", IN_KERNEL): "in metadata",
    ("steady_pass_ns", "growth"): "in how costs grow with memory",
}


@dataclass(frozen=True)
class Compared:
    """One row with its figures.

    Attributes:
        row: The row.
        counted: The target with the result of `ksmlab bench --counted`.
        timed: The target with the result of `make bench`.
    """

    row: Row
    counted: Verdict
    timed: Verdict


def compared(counted: Measured, timed: Measured) -> tuple[Compared, ...]:
    """Look up both results of each row.

    Raises:
        KeptError: A row was not measured.
    """
    return tuple(Compared(row, _find(counted, row), _find(timed, row)) for row in ROWS)


def _find(results: Measured, row: Row) -> Verdict:
    wanted = (KERNEL, row.workload, row.metric, row.versus)
    for one in results.verdicts:
        if (one.kernel, one.workload, one.metric, one.versus) == wanted and one.ratio is not None:
            return one
    raise KeptError(f"`{results.command}` has no ratio for {' '.join(wanted)}. Measure it again.")


def short(ratio: float) -> str:
    """Format a ratio with two significant digits, or as an integer from 10 on."""
    if ratio >= 10:  # noqa: PLR2004
        return f"{ratio:.0f}x"
    return f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.1g}x"


def block(counted: Measured, timed: Measured) -> str:
    """Return the table and the sentence below it, as Markdown."""
    lines = ["| in-kernel KSM / this driver | counted | timed | target, timed | met |"]
    lines.append("|---|--:|--:|--:|---|")
    for one in compared(counted, timed):
        cells = (
            one.row.label,
            short(one.counted.ratio or 0),
            short(one.timed.ratio or 0),
            f"{one.timed.target:g}x",
            "yes" if one.timed.met else "no",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _missed(timed)]) + "\n"


def _missed(timed: Measured) -> str:
    verdicts = [one for one in timed.verdicts if one.kernel == KERNEL]
    kinds = Counter((one.metric, one.versus) for one in verdicts if not one.met)
    named = [f"{count} {KINDS.get(kind, METRICS[kind[0]].title)}" for kind, count in kinds.items()]
    return textwrap.fill(
        f"On {SERIES}, {kinds.total()} of {len(verdicts)} targets are missed: {', '.join(named)}.",
        _LINE,
    )


def chart(counted: Measured, timed: Measured) -> Plot:
    """Draw two bars and a mark for the target for each row, on a logarithmic axis."""
    rows = [one for one in compared(counted, timed) if one.row.charted]
    step = _LABEL + 2 * _BAR + _GAP
    bottom = _TOP + len(rows) * step
    shapes = [*_head()]
    for power in range(math.floor(math.log10(_LARGEST)) + 1):
        x = _across(10**power)
        shapes.append(Shape("line", "grid", (x, _TOP, x, bottom)))
        shapes.append(Shape("text", "tick middle", (x, bottom + 16), f"{10**power}x"))
    for number, one in enumerate(rows):
        shapes += _pair(one, _TOP + number * step)
    return Plot(TITLE, _WIDTH, bottom + _AXIS, tuple(shapes))


def _across(ratio: float) -> float:
    share = math.log10(max(1.0, ratio)) / math.log10(_LARGEST)
    return _MARGIN + share * (_WIDTH - 2 * _MARGIN - _VALUE)


def _head() -> Iterator[Shape]:
    yield Shape("text", "title", (_MARGIN, 24), "CPU time: in-kernel KSM / this driver")
    yield Shape(
        "text", "dim", (_MARGIN, 44), f"Linux {SERIES}. Longer bars: the driver needs less."
    )
    yield Shape("rect", "counted", (_MARGIN, 60, 12, 12))
    yield Shape("text", "", (_MARGIN + 18, 71), "counted instructions")
    yield Shape("rect", "timed", (_MARGIN + 178, 60, 12, 12))
    yield Shape("text", "", (_MARGIN + 196, 71), "timed")
    yield Shape("line", "target", (_MARGIN + 262, 58, _MARGIN + 262, 74))
    yield Shape("text", "", (_MARGIN + 270, 71), "target")


def _pair(one: Compared, top: float) -> Iterator[Shape]:
    yield Shape("text", "", (_MARGIN, top + 14), one.row.label.replace("`", ""))
    first, x = top + _LABEL, _across(one.timed.target)
    for number, (css, verdict) in enumerate((("counted", one.counted), ("timed", one.timed))):
        y, ratio = first + number * _BAR, verdict.ratio or 0
        told = f"{one.row.label}, {css}: {short(ratio)}, target {verdict.target:g}x"
        width = max(2.0, _across(ratio) - _MARGIN)
        yield Shape("rect", css, (_MARGIN, y, width, _BAR - 1), told)
        yield Shape("text", "value", (max(_MARGIN + width, x) + 6, y + _BAR - 1), short(ratio))
    yield Shape("line", "target", (x, first - 2, x, first + 2 * _BAR + 1))


def svg(counted: Measured, timed: Measured) -> str:
    """Return the chart as SVG that adapts to the reader's light or dark colour scheme."""
    words = "; ".join(
        f"{one.row.label.replace('`', '')} {short(one.counted.ratio or 0)} counted, {short(one.timed.ratio or 0)} timed"
        for one in compared(counted, timed)
        if one.row.charted
    )
    plot = chart(counted, timed)
    return environment().get_template("chart.svg.j2").render(plot=plot, words=words)


def readme(text: str, counted: Measured, timed: Measured) -> str:
    """Return the text of README.md with a new table.

    Raises:
        KeptError: The text does not have exactly one place for the table.
    """
    table = block(counted, timed)
    replaced, count = BLOCK.subn(lambda _: table, text)
    if count != 1:
        raise KeptError(
            f"{README} has {count} places for the table, not 1. See BLOCK in {__name__}"
        )
    return replaced


def main() -> int:
    """Write both files, and return the exit status."""
    try:
        counted, timed = Measured.read(COUNTED), Measured.read(DATA)
        text = readme(README.read_text(), counted, timed)
    except KeptError as error:
        print(error, file=sys.stderr)
        return 1
    README.write_text(text)
    CHART.write_text(svg(counted, timed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
