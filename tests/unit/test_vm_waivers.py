"""Lists of waivers: what an entry must have, and the list that is part of the scanner."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from ksmlab.vm.splat import HARMLESS, classify
from ksmlab.vm.waivers import load_waivers

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = """
[[allow]]
pattern = 'at mm/foo\\.c'
reason = "known"
since = 2026-01-31
"""
#: Lines that kernels print without an error in the kernel.
HARMLESS_LINES = (
    "pytest: begins: tests/vm/test_x.py::test_x[BUG: y]",
    "INFO: lockdep is turned off.",
    "rcu: INFO: Stall ended before state dump start",
    "INFO: NMI handler (perf_event_nmi_handler) took too long to run: 1.714 msecs",
    "INFO: timekeeping: Cycle offset (12) is larger than the 'tsc' clock's 50% safety margin (6)",
    "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible!",
    "RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks!",
    "Speculative Return Stack Overflow: WARNING: kernel not compiled with CPU_SRSO.",
    "mtrr: WARNING: BIOS bug: CPU MTRRs don't cover all of memory, losing 12MB of RAM.",
    "WARNING: workqueue cpumask: online intersect > possible intersect",
    "process: WARNING: polling idle and HT enabled, performance may degrade",
    "WARNING: fbcon: Driver 'x' missed to adjust virtual screen size (0x0 vs. 64x768)",
    "WARNING: The mand mount option has been deprecated and",
    "WARNING: the mand mount option is being deprecated and",
    "page dumped because: unmovable page",
    "EXT4-fs (loop0): INFO: recovery required on readonly filesystem",
)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (ENTRY.replace('reason = "known"\n', ""), "must have the keys pattern, reason and since"),
        (ENTRY.replace("since = 2026-01-31\n", ""), "must have the keys pattern, reason and since"),
        (ENTRY + "until = 1\n", "must have the keys pattern, reason and since"),
        (ENTRY.replace('"known"', '" "'), "reason must not be empty"),
        (ENTRY.replace("2026-01-31", "'soon'"), "since must be a date"),
        (ENTRY.replace("mm/foo", "mm/(foo"), "pattern is not a valid"),
    ],
)
def test_waiver_without_pattern_reason_or_date_is_rejected(
    tmp_path: Path, entry: str, message: str
) -> None:
    path = tmp_path / "allow.toml"
    path.write_text(entry)
    with pytest.raises(ValueError, match=message):
        load_waivers(path)


def test_waiver_has_the_date_of_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "allow.toml"
    path.write_text(ENTRY)
    (waiver,) = load_waivers(path)
    assert (waiver.reason, waiver.since) == ("known", dt.date(2026, 1, 31))


@pytest.mark.parametrize("line", HARMLESS_LINES)
def test_harmless_line_begins_no_report(line: str) -> None:
    assert classify(line) is None


def test_each_harmless_entry_covers_a_line_that_would_otherwise_be_a_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    covered = [[line for line in HARMLESS_LINES if each.pattern.search(line)] for each in HARMLESS]
    assert all(covered)
    monkeypatch.setattr("ksmlab.vm.splat.HARMLESS", ())
    assert None not in map(classify, HARMLESS_LINES)
