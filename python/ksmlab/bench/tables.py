"""Format targets and figures as tables, for a terminal and for Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table as RichTable

from ksmlab.bench.metrics import METRICS, NOTHING
from ksmlab.bench.plan import LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ksmlab.bench.summary import Summary
    from ksmlab.bench.targets import Verdict

#: The metrics whose growth with the memory is shown.
GROWING = ("cpu_to_goal_ns", "steady_pass_ns", "full_pass_ns")
#: The names of the engines in reports.
ENGINE_TITLES = {
    "in_kernel": "in-kernel KSM",
    "in_kernel_plain": "in-kernel, smart scan off",
    "tree": "/dev/ksm, tree",
    "hash": "/dev/ksm, hash",
    LIMIT: "plain xxh64 loop",
}


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: The title of the table.
        head: The titles of the columns.
        rows: The rows, each with a cell for each column.
        numeric: The index of the first column with numbers; they are aligned to the right.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: int

    def markdown(self) -> str:
        """Return the table as Markdown."""
        bars = ["---" if at < self.numeric else "---:" for at in range(len(self.head))]
        lines = [_row(self.head), _row(bars), *(_row(row) for row in self.rows)]
        return f"### {self.title}\n\n" + "\n".join(lines)

    def rich(self) -> RichTable:
        """Return the table for a terminal."""
        table = RichTable(title=self.title, title_justify="left", title_style="bold")
        for at, name in enumerate(self.head):
            table.add_column(name, justify="left" if at < self.numeric else "right")
        for row in self.rows:
            style = {"no": "red", "yes": "green"}.get(row[-1])
            table.add_row(*row[:-1], f"[{style}]{row[-1]}[/]" if style else row[-1])
        return table


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def against(verdict: Verdict) -> str:
    """Return the title of a target: its figure, and what the figure is compared with."""
    words = {
        "in_kernel": "",
        "in_kernel_plain": ", smart scan off",
        "xxh64": " / xxh64",
        "growth": ", growth 16x",
        "itself": "",
    }
    return METRICS[verdict.metric].title + words[verdict.versus]


def targets_table(kernel: str, verdicts: Sequence[Verdict]) -> Table:
    """Return a table of the targets on one kernel, with the measured values, the ratio and the bound."""
    rows = []
    for verdict in verdicts:
        if verdict.kernel != kernel:
            continue
        metric = METRICS[verdict.metric]
        rows.append(
            (
                verdict.workload,
                against(verdict),
                metric.show(verdict.ours),
                metric.show(verdict.in_kernel),
                verdict.found,
                verdict.wanted,
                "yes" if verdict.met else "no",
            )
        )
    head = ("workload", "figure", "ours", "in-kernel", "ratio", "target", "met")
    return Table(f"Targets on {kernel}", head, tuple(rows), numeric=2)


def figures_table(summary: Summary, kernel: str, name: str) -> Table:
    """Return a table of one metric on one kernel, with a row for each workload and a column for each engine."""
    metric = METRICS[name]
    engines = [
        engine
        for engine in summary.engines
        if any(
            summary.median(kernel, workload, engine, name) is not None
            for workload in summary.workloads
        )
    ]
    rows = []
    for workload in summary.workloads:
        cells = []
        for engine in engines:
            spread = summary.spread(kernel, workload, engine, name)
            if spread is None:
                cells.append(NOTHING)
            elif spread.runs == 1:
                cells.append(metric.show(spread.median))
            else:
                span = f"{metric.show(spread.least)} to {metric.show(spread.most)}"
                cells.append(f"{metric.show(spread.median)} ({span})")
        if any(cell != NOTHING for cell in cells):
            rows.append((workload, *cells))
    head = ("workload", *(ENGINE_TITLES.get(engine, engine) for engine in engines))
    return Table(f"{metric.title} on {kernel}", head, tuple(rows), numeric=1)


def growth_table(summary: Summary, kernel: str, name: str) -> Table:
    """Return a table of the cost per page with more memory, relative to factor 1. Linear growth is 1.00."""
    factors = [factor for factor in summary.factors if factor != 1]
    rows = []
    for workload in summary.workloads:
        for engine in summary.engines:
            values = [summary.growth(kernel, workload, engine, name, factor) for factor in factors]
            if any(value is not None for value in values):
                cells = (NOTHING if value is None else f"{value.median:.2f}" for value in values)
                rows.append((workload, ENGINE_TITLES.get(engine, engine), *cells))
    head = ("workload", "engine", *(f"{factor}x memory" for factor in factors))
    return Table(
        f"{METRICS[name].title}, for each page, in units of 1x, on {kernel}",
        head,
        tuple(rows),
        numeric=2,
    )


def all_tables(summary: Summary, verdicts: Sequence[Verdict]) -> list[Table]:
    """Return all tables that have rows: for each kernel the targets, the metrics, and the growth."""
    tables = []
    for kernel in summary.kernels:
        tables.append(targets_table(kernel, verdicts))
        tables += [figures_table(summary, kernel, name) for name in METRICS]
        tables += [growth_table(summary, kernel, name) for name in GROWING]
    return [table for table in tables if table.rows]
