"""The scanner of kernel logs, on logs that real kernels wrote (and a few that were typed after them)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksmlab.vm.splat import classify, clean, panic_section, parse_kmsg, scan

DATA = Path(__file__).with_name("data")


def kinds(name: str) -> list[str]:
    return [splat.kind for splat in scan((DATA / f"{name}.log").read_text().splitlines())]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("debian-6.1-warning", ["WARNING"]),
        ("debian-6.1-null", ["oops", "panic"]),
        ("debian-6.12-warning", ["WARNING"]),
        ("debian-6.12-refcount", ["WARNING"]),
        ("debian-6.12-slab", ["slab", "WARNING", "slab", "WARNING"]),
        ("debian-6.12-badpage", ["bad page"]),
        ("debian-6.12-atomic", ["atomic sleep", "WARNING"]),
        ("debian-6.12-rcu", ["RCU stall", "soft lockup"]),
        ("debian-6.12-softlockup", ["RCU stall", "soft lockup"]),
        ("debian-6.12-hung", ["hung task"] * 4),
        ("debian-6.12-list", ["list corruption", "panic"]),
        ("debian-6.12-bug", ["oops", "panic"]),
        ("debian-6.12-null", ["oops", "panic"]),
        ("debian-6.12-panic", ["panic"]),
        ("debian-6.1-oom", ["out of memory"]),
        ("debian-6.1-twice", ["sysfs"]),
        ("kasan", ["KASAN"]),
        ("lockdep", ["lockdep"]),
        ("kmemleak", ["kmemleak"]),
        ("hard_lockup", ["hard lockup"]),
    ],
)
def test_each_kind_is_found_once(name: str, expected: list[str]) -> None:
    assert kinds(name) == expected


@pytest.mark.parametrize("name", ["debian-6.1-boot", "debian-6.12-boot", "debian-6.1-memcg"])
def test_an_ordinary_boot_has_none_nor_has_a_control_group_at_its_limit(name: str) -> None:
    assert kinds(name) == []


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: mm/memory.c:12 at do_fault+0x1/0x2, CPU#1: ksm/12",
        "WARNING: suspicious RCU usage",
        "BUG: MAX_LOCKDEP_CHAINS too low!",
        "=====[ BUG: Invalid wait context ]",
        "BUG: sleeping function called from invalid context at mm/slab.h:460",
        "BUG: Bad rss-counter state mm:00000000 type:MM_FILEPAGES val:1",
        "general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
        "Oops: int3: 0000 [#1] PREEMPT SMP NOPTI",
        "traps: Missing ENDBR: foo+0x0/0x10",
        "UBSAN: array-index-out-of-bounds in mm/ksm.c:1:2",
        "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [kksmd:120]",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "Out of memory (oom_kill_allocating_task): Killed process 12 (python)",
        "kobject_add_internal failed for ksm (error: -2 parent: mm)",
        "_swap_info_get: Bad swap file entry 4000000000000001",
    ],
)
def test_lines_that_begin_a_report(line: str) -> None:
    assert classify(line) is not None


@pytest.mark.parametrize(
    "line",
    [
        "ksm: loading out-of-tree module taints kernel.",
        "ksm: module verification failed: signature and/or required key missing - tainting kernel",
        "DEBUG: nothing",
        "hrtimer: interrupt took 22619204 ns",
        "Memory cgroup out of memory: Killed process 12 (python)",
        "kobject_add_internal failed for ksm (error: -12 parent: mm)",
        "pci 0000:00:1f.0: quirk: [io  0x0600-0x067f] claimed by ICH6 ACPI/GPIO/TCO",
    ],
)
def test_lines_that_do_not(line: str) -> None:
    assert classify(line) is None


def test_a_report_keeps_its_lines() -> None:
    (splat,) = scan((DATA / "debian-6.12-warning.log").read_text().splitlines())
    assert "crash: a warning" in splat.lines
    assert any("crash_init" in line for line in splat.lines)
    assert splat.lines[-1].startswith("---[ end trace")


def test_clean_strips_what_a_console_adds() -> None:
    line = "\x1b[32m[   15.459301] \x1b[0m\x1b[33mksm: \x1b[0mhello\r"
    assert clean(line) == "ksm: hello"
    assert clean("<4>[    1.000000][  T212] BUG: x") == "BUG: x"


def test_panic_section_begins_where_it_went_wrong() -> None:
    log = (DATA / "debian-6.12-boot.log").read_text() + (DATA / "debian-6.12-null.log").read_text()
    section = panic_section(log.splitlines())
    lines = section.splitlines()
    assert any("NULL pointer dereference" in line for line in lines[:8])
    assert "Kernel panic - not syncing: Fatal exception" in lines
    assert "Linux version" not in section


def test_panic_section_without_a_report_is_the_end_of_the_log() -> None:
    assert panic_section(["[ 1.0] one", "[ 2.0] two"]) == "one\ntwo"


def test_kmsg_records() -> None:
    record = parse_kmsg("12,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n DEVICE=+x\n")
    assert (record.level, record.sequence, record.microseconds) == (4, 339, 5140900)
    assert record.text == "NET: Registered"
    with pytest.raises(ValueError, match="not a record"):
        parse_kmsg("nonsense")
