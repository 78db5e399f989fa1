"""The figures by name: what they are called, their unit, and how a person wants to read them."""

from __future__ import annotations

from dataclasses import dataclass

#: What stands in a table for a figure that there is not.
NOTHING = "-"


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name: What it is called in data.
        title: What it is called in a report.
        unit: "ns", "s", "bytes" or "count".
        less_is_better: Whether an engine with less of it is the better one.
    """

    name: str
    title: str
    unit: str
    less_is_better: bool = True

    def show(self, value: float | None) -> str:
        """Write a value for a person, with its unit."""
        if value is None:
            return NOTHING
        match self.unit:
            case "ns":
                return _nanoseconds(value)
            case "s":
                return f"{value:.2f} s"
            case "bytes":
                return f"{value:.1f} B"
        return f"{value:,.0f}"


def _nanoseconds(value: float) -> str:
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if value >= factor:
            number = value / factor
            return f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2}f} {unit}"  # noqa: PLR2004
    return f"{value:.0f} ns"


_ALL = (
    Metric("cpu_to_goal_ns", "CPU to 99% merged", "ns"),
    Metric("steady_pass_ns", "CPU of a steady pass", "ns"),
    Metric("full_pass_ns", "CPU of a look at everything", "ns"),
    Metric("wall_to_goal_ns", "time to 99% merged", "ns"),
    Metric("cpu_s_per_gib", "CPU for each GiB saved", "s"),
    Metric("frames_saved", "frames saved", "count", less_is_better=False),
    Metric("metadata_per_page", "metadata for each page", "bytes"),
    Metric("tlb_shootdowns", "TLB shootdowns while merging", "count"),
    Metric("write_p50_ns", "write to a merged page, p50", "ns"),
    Metric("write_p99_ns", "write to a merged page, p99", "ns"),
    Metric("steady_passes", "steady passes averaged", "count"),
)
METRICS = {metric.name: metric for metric in _ALL}
