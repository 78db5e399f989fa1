"""A lost VM is not a failed assertion: it has a letter, a word, a count and a section of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

LOST = "lost"


def loss_of(report: object) -> str | None:
    """Give the kind of loss that a report is of, None if it is an ordinary one."""
    kind: str | None = getattr(report, "vm_lost", None)
    return kind


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Tell a lost VM apart from a failure."""
    if kind := loss_of(report):
        return LOST, "L", (f"LOST VM ({kind})", {"red": True, "bold": True})
    return None


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Show every loss with its log, then a line for each."""
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
    terminalreporter.section("the VMs that were lost", red=True)
    for report in reports:
        first = report.longreprtext.splitlines()[0]
        terminalreporter.write_line(f"LOST {report.nodeid} - {first}")
