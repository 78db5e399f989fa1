"""The kernel-log scanner, on logs that real kernels wrote and on short samples in the same format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ksmlab.vm.splat import JOINT, classify, clean, panic_section, parse_kmsg, scan

if TYPE_CHECKING:
    from collections.abc import Callable

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
def test_scan_finds_each_report_once(name: str, expected: list[str]) -> None:
    assert kinds(name) == expected


@pytest.mark.parametrize("name", ["debian-6.1-boot", "debian-6.12-boot", "debian-6.1-memcg"])
def test_scan_finds_nothing_in_a_boot_log_or_a_memcg_oom(name: str) -> None:
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
def test_headline_of_a_report_is_recognised(line: str) -> None:
    assert classify(line) is not None


@pytest.mark.parametrize("word", ["WARNING", "BUG", "INFO"])
@pytest.mark.parametrize(
    "front",
    ["", "rcu: ", "usb 5-1: ", "EXT4-fs (sda1): ", "Spectre V9 : ", "[ ", "=====[ ", "# ", "ksm ", "foo, ",
     "zonefs (sda) ", "DMA-API: device driver "],
)  # fmt: skip
@pytest.mark.parametrize("text", [": never seen before", ":", ":no blank"])
def test_unknown_report_is_named_by_its_word(word: str, front: str, text: str) -> None:
    assert classify(f"{front}{word}{text}") == word


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("WARNING: python/123 still has locks held!", "lockdep"),
        ("WARNING: lock held when returning to user space!", "lockdep"),
        ("VFS: Busy inodes after unmount of tmpfs (tmpfs)", "VFS"),
        ("VFS: Close: file count is 0 (f_op=ksm_fops [ksm])", "VFS"),
        ("unregister_netdevice: waiting for lo to become free. Usage count = 2", "netdevice"),
        ("INFO: task python:12 blocked in I/O wait for more than 143 seconds.", "hung task"),
        ("INFO: task python:12 can't die for more than 143 seconds.", "hung task"),
        ("rcu: INFO: rcu_tasks detected stalls on tasks:", "RCU stall"),
        ("traps: PANIC: double fault, error_code: 0x0", "oops"),
        ("PANIC: double fault, error_code: 0x0", "oops"),
        ("Oops: divide error: 0000 [#1] PREEMPT SMP", "oops"),
        ("BUG: Dentry 00000000f2f5e5b9{i=12,n=x} still in use (1) [unmount of tmpfs tmpfs]", "BUG"),
    ],
)
def test_report_has_the_name_of_its_kind(line: str, kind: str) -> None:
    assert classify(line) == kind


@pytest.mark.parametrize(
    "line",
    [
        "ksm: loading out-of-tree module taints kernel.",
        "ksm: module verification failed: signature and/or required key missing - tainting kernel",
        "DEBUG: nothing",
        "hrtimer: interrupt took 22619204 ns",
        "Memory cgroup out of memory: Killed process 12 (python)",
        "kobject_add_internal failed for ksm (error: -12 parent: mm)",
        "Warning: unable to open an initial console.",
        "DEBUG_INFO: 1",
        "ksm: FOOBAR_INFO: 1",
        "warning: `x' uses wireless extensions which will stop working for Wi-Fi 7 hardware",
        "traps: python[12] general protection fault ip:7feb96eb56a1 sp:20000fd0 error:0 in x[1+2]",
        "Command line: quiet loglevel=7 nmi_watchdog=1 oops=panic",
        "pci 0000:00:1f.0: quirk: [io  0x0600-0x067f] claimed by ICH6 ACPI/GPIO/TCO",
        "page dumped because: kasan: bad access detected",
    ],
)
def test_harmless_line_is_no_headline(line: str) -> None:
    assert classify(line) is None


def console(text: str) -> list[str]:
    """Return the lines of the console for one message."""
    return [f"[   52.409999][   T31] {line}" for line in text.split("\n")]


def kmsg(text: str) -> list[str]:
    """Return the lines of the record that /dev/kmsg has for one message."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\x{byte:02x}" for byte in text.encode()
    )
    return parse_kmsg(f"3,12,52409999,-;{escaped}\n").text.split("\n")


@pytest.mark.parametrize("channel", [console, kmsg])
@pytest.mark.parametrize(
    "name", ["ab", "a\nb", "\nb", "a\n", "\n" * 15, "a\n\nb", "\nINFO: x", "é\n\\x0a\tb"]
)
@pytest.mark.parametrize(
    ("headline", "kind"),
    [
        ("INFO: task {}:211 blocked for more than 5 seconds.", "hung task"),
        ("INFO: task {}:211 blocked in I/O wait for more than 5 seconds.", "hung task"),
        ("WARNING: {}/211 still has locks held!", "lockdep"),
    ],
)
def test_headline_is_found_whole_if_a_newline_in_a_task_name_splits_it(
    channel: Callable[[str], list[str]], name: str, headline: str, kind: str
) -> None:
    text = headline.format(name)
    after = "task:x state:D stack:0 pid:211"
    (splat,) = scan([*channel("before"), *channel(text), *channel(after)])
    assert splat.kind == kind
    assert splat.headline.startswith(text[:10].rstrip().split("\n")[0])
    assert splat.headline.endswith(text[-20:].replace("\n", JOINT))
    assert splat.lines[-1] == after


@pytest.mark.parametrize("word", ["WARNING: first", "INFO: task", "INFO: first"])
def test_two_reports_in_a_row_are_not_joined(word: str) -> None:
    second = "INFO: task with_long_name:211 blocked for more than 5 seconds."
    assert [splat.headline for splat in scan([word, "a line", second])] == [word, second]


@pytest.mark.parametrize(
    "log",
    [
        """BUG kmalloc-64 (Tainted: G    B  ): Poison overwritten
INFO: 0x000000002944ae0d-0x000000002944ae0d @offset=3528. First byte 0x0 instead of 0x6b
INFO: Allocated in crash_init+0x31d/0xff0 age=0 cpu=1 pid=186
INFO: Slab 0x000000003b0ccfc0 objects=25 used=1 fp=0x0000000011c4871a flags=0x2
INFO: Object 0x000000002944ae0d @offset=3528 fp=0x0000000000000000""",
        """INFO: task python:211 blocked for more than 5 seconds.
INFO: task python:211 is blocked on a mutex likely owned by task x:12.
INFO: lockdep is turned off.""",
        """Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP
KASAN: maybe wild-memory-access in range [0x00badbeefbadbee8-0x00badbeefbadbeef]""",
        """rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
rcu: INFO: Stall ended before state dump start""",
        """rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
rcu: rcu_preempt kthread timer wakeup didn't happen for 5249 jiffies! g1 f0x0 RCU_GP_WAIT_FQS(5) ->state=0x402
rcu: rcu_preempt kthread starved for 5250 jiffies! g1 f0x2 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=1""",
        """page dumped because: VM_BUG_ON_PAGE(PageTail(page))
kernel BUG at mm/ksm.c:1!
invalid opcode: 0000 [#1] PREEMPT SMP NOPTI""",
        """Unable to handle kernel paging request at virtual address dfff800000000000
KASAN: null-ptr-deref in range [0x0000000000000000-0x0000000000000007]
Internal error: Oops: 96000005 [#1] PREEMPT SMP""",
    ],
    ids=["slab", "hung task", "oops", "RCU stall", "starved", "page", "arm64"],
)
def test_details_of_a_report_are_no_reports(log: str) -> None:
    (splat,) = scan(log.split("\n"))
    assert "\n".join(splat.lines) == log


def test_harmless_line_does_not_hide_the_report_below_it() -> None:
    log = ["INFO: lockdep is turned off.", "WARNING: python/123 still has locks held!"]
    assert [splat.headline for splat in scan(log)] == log[1:]


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
