"""The metrics of the benchmark: their names, titles and units, and the format of their values."""

from __future__ import annotations

from dataclasses import dataclass

from ksmlab.libc import PAGE_SIZE

MIB = 1 << 20
#: The text in a table for a missing figure.
NOTHING = "-"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name in stored data.
        title: Its name in reports.
        unit: "ns", "s", "bytes", "count", "ratio", or "page_ns" (nanoseconds per page, shown as MiB per second).
        less_is_better: Whether lower values are better.
    """

    name: str
    title: str
    unit: str
    less_is_better: bool = True

    def show(self, value: float | None) -> str:
        """Format a value with its unit."""
        if value is None:
            return NOTHING
        match self.unit:
            case "ns":
                text = nanoseconds(value)
            case "s":
                text = f"{value:.2f} s"
            case "page_ns":
                text = f"{PAGE_SIZE / MIB * 1e9 / value:,.1f} MiB/s"
            case "ratio":
                text = f"{value:.2f}x"
            case "bytes":
                text = f"{value:.1f} B"
            case _:
                text = f"{value:,.0f}"
        return text


def nanoseconds(value: float) -> str:
    """Format a time with three significant digits."""
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if value >= factor:
            number = value / factor
            return f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2}f} {unit}"  # noqa: PLR2004
    return f"{value:.0f} ns"


_ALL = (
    Metric("cpu_to_goal_ns", "CPU to 99% merged", "ns"),
    Metric("steady_pass_ns", "CPU of a steady pass", "ns"),
    Metric("full_pass_ns", "CPU of a full pass", "ns"),
    Metric("fresh_pass_ns", "CPU of a steady pass before collisions", "ns"),
    Metric("aging", "steady pass after collisions / before", "ratio"),
    Metric("waking", "passes right after collisions / before", "ratio"),
    Metric("wall_to_goal_ns", "time to 99% merged", "ns"),
    Metric("cpu_s_per_gib", "CPU for each GiB saved", "s"),
    Metric("frames_saved", "frames saved", "count", less_is_better=False),
    Metric("metadata_per_page", "metadata for each page", "bytes"),
    Metric("tlb_shootdowns", "TLB shootdowns while merging", "count"),
    Metric("write_fault_ns", "copy-on-write of a merged page", "ns"),
    Metric("unmerge_page_ns", "unmerge with run=2", "page_ns"),
    Metric("remove_page_ns", "unmerge on removal", "page_ns"),
    Metric("write_p50_ns", "write to a merged page, p50", "ns"),
    Metric("write_p99_ns", "write to a merged page, p99", "ns"),
    Metric("steady_passes", "steady passes averaged", "count"),
)
METRICS = {metric.name: metric for metric in _ALL}
