"""Report lost VMs separately from failed tests, with their own letter, word, count and section."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

LOST = "lost"


def loss_of(report: object) -> str | None:
    """Return the type of the error by which the VM was lost, or None for an ordinary report."""
    kind: str | None = getattr(report, "vm_lost", None)
    return kind


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Return the category, letter and word for the report of a lost VM."""
    if kind := loss_of(report):
        return LOST, "L", (f"LOST VM ({kind})", {"red": True, "bold": True})
    return None


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Show the report and the log of each lost VM, and then a list of them."""
    reports = terminalreporter.stats.get(LOST, [])
    if not reports:
        return
    terminalreporter.section("LOST VM", red=True, bold=True)
    for report in reports:
        terminalreporter.section(report.nodeid, "_", red=True)
        terminalreporter.write_line(report.longreprtext)
        for title, content in report.sections:
            terminalreporter.section(title, "-")
            terminalreporter.write_line(content.rstrip())
    terminalreporter.section("lost VMs", red=True)
    for report in reports:
        first = report.longreprtext.splitlines()[0]
        terminalreporter.write_line(f"LOST {report.nodeid} - {first}")
