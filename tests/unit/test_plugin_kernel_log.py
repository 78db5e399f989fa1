"""The slices of the kernel's log, and the waivers of reports in them."""

from __future__ import annotations

import datetime as dt
import errno
import itertools
import os
import re
from pathlib import Path

import pytest

from ksmlab.pytest_plugin.kernel_log import MARK, KernelLog, complaints, slice_of
from ksmlab.vm.splat import KINDS, classify
from ksmlab.vm.waivers import Waiver, load_waivers

ALLOWED = Path(__file__).resolve().parents[2] / "vm" / "allow.toml"
WARNING = "WARNING: CPU: 0 PID: 1 at mm/foo.c:12 foo+0x1/0x2 [foo]"
ENTRY = """
[[allow]]
pattern = 'at mm/foo\\.c'
reason = "known"
since = 2026-01-31
"""


class Device:
    """A /dev/kmsg that gives what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *records: bytes | int) -> None:
        self.records = list(records)
        self.written: list[bytes] = []
        monkeypatch.setattr(os, "open", lambda *_: 99)
        monkeypatch.setattr(os, "read", self.read)
        monkeypatch.setattr(os, "write", lambda _, data: self.written.append(data))

    def read(self, _descriptor: int, _size: int) -> bytes:
        if not self.records:
            raise BlockingIOError
        record = self.records.pop(0)
        if isinstance(record, int):
            raise OSError(record, "as told")
        return record


def test_a_slice_is_what_came_since_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, b"6,1,10,-;first\n", b"4,2,20,-;second\n SUBSYSTEM=x\n")
    log = KernelLog()
    assert log.take() == ["first", "second"]
    assert log.take() == []
    device.records.append(b"4,3,30,-;third\n")
    assert log.take() == ["third"]


def test_a_mark_fits_in_a_record_whatever_the_test_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(monkeypatch)
    nodeid = "tests/vm/test_it.py::test_it[" + "é" * 2000 + "-1 ]"
    KernelLog().mark(nodeid)
    assert len(device.written[0]) < 900
    said = device.written[0].decode().partition(">")[2]
    assert slice_of(["before", f"[    1.2] {said}", "after"], nodeid) == ["after"]


def test_the_marks_are_not_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    log = KernelLog()
    log.mark("tests/x.py::test_WARNING: at")
    (line,) = device.written
    device.records = [b"12,1,10,-;" + line.partition(b">")[2], b"4,2,20,-;more\n"]
    assert log.take() == ["more"]


def test_newline_that_the_kernel_escaped_in_a_record_separates_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Device(monkeypatch, b"6,1,10,-;\\x0abut task holds \\xc3\\xa9\\x5cx0a:\n SUBSYSTEM=x\n")
    assert KernelLog().take() == ["", "but task holds é\\x0a:"]


def test_records_that_were_lost_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch, b"6,1,10,-;first\n", errno.EPIPE, b"6,9,90,-;later\n")
    with pytest.raises(RuntimeError, match="overwrote"):
        KernelLog().take()


def test_a_log_that_cannot_be_read_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch, errno.EBADF)
    with pytest.raises(OSError, match="as told"):
        KernelLog().take()


def test_waiver_covers_only_reports_that_match(tmp_path: Path) -> None:
    path = tmp_path / "allow.toml"
    path.write_text(ENTRY)
    other = WARNING.replace("foo.c", "bar.c")
    log = [WARNING, "---[ end trace 0 ]---", other]
    counted, waived = complaints(log, load_waivers(path))
    assert [splat.headline for splat in counted] == [other]
    assert [(splat.headline, waiver.reason) for splat, waiver in waived] == [(WARNING, "known")]


#: One headline of each kind, and some of kinds that have reports of several lines.
HEADLINES = (
    WARNING,
    "ksm INFO: x",
    "BUG: Dentry 1{i=1,n=x} still in use (1) [unmount of tmpfs tmpfs]",
    "BUG: Bad rss-counter state mm:1 type:MM_FILEPAGES val:1",
    "BUG: Bad page state in process kksmd  pfn:01a69",
    "page dumped because: fuse: trying to steal weird page",
    "page dumped because: VM_BUG_ON_PAGE(x)",
    "BUG: KASAN: slab-use-after-free in a [ksm]",
    "BUG: KFENCE: use-after-free read in a",
    "BUG: KCSAN: data-race in a / b",
    "BUG: KMSAN: uninit-value in a",
    "UBSAN: array-index-out-of-bounds in mm/ksm.c:1:2",
    "BUG: unable to handle page fault for address: 1",
    "BUG: kernel NULL pointer dereference, address: 0",
    "Oops: general protection fault, probably for non-canonical address 1: 0000 [#1]",
    "Oops: divide error: 0000 [#1] PREEMPT SMP NOPTI",
    "list_add corruption. next->prev should be prev",
    "BUG a (Tainted: G): Poison overwritten",
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [kksmd:120]",
    "NMI watchdog: Watchdog detected hard LOCKUP on cpu 1",
    "INFO: task a:1 blocked for more than 5 seconds.",
    "INFO: task b:2 blocked for more than 5 seconds.",
    "BUG: scheduling while atomic: a/1/0x00000002",
    "WARNING: a/1 still has locks held!",
    "Out of memory: Killed process 12 (python)",
    "sysfs: cannot create duplicate filename '/a'",
    "sysfs: cannot create duplicate filename '/b'",
    "kmemleak: 3 new suspected memory leaks",
    "VFS: Busy inodes after unmount of tmpfs (tmpfs)",
    "unregister_netdevice: waiting for lo to become free. Usage count = 2",
    "Kernel panic - not syncing: x",
)


def test_waiver_of_a_report_covers_no_report_before_or_after_it() -> None:
    assert set(map(classify, HEADLINES)) == set(KINDS)
    for one, other in itertools.permutations(HEADLINES, 2):
        waiver = Waiver(re.compile(re.escape(one)), "known", dt.date(2026, 1, 31))
        for log in ([one, other], [other, one], ["---[ cut here ]---", one, "a line", other]):
            counted, waived = complaints(log, [waiver])
            assert [splat.headline for splat in counted] == [other]
            assert [splat.headline for splat, _ in waived] == [one]


LEAK = """unreferenced object 0xffff88800bf9ef80 (size 16):
  comm "python", pid 58, jiffies 4294991319
  backtrace:
    {}kstrdup_const+0x4e/0x80
    {}kvasprintf_const+0x93/0xd0
    {}kobject_set_name_vargs+0x32/0xb0
    {}kobject_init_and_add+0x9d/0xf0
    {}sysfs_slab_add+0x1a5/0x220
    {}ksm_node_init+0x40/0x100 [ksm]
"""


RACE = """\
==================================================================
BUG: KCSAN: data-race in do_a / do_b

write to 0xffff888004a6b0c0 of 8 bytes by task 77 on cpu 0:
 {}

read to 0xffff888004a6b0c0 of 8 bytes by task 78 on cpu 1:
 {}
 {}

Reported by Kernel Concurrency Sanitizer on:
CPU: 1 UID: 0 PID: 78 Comm: kksmd Tainted: G           O       6.12.117-race #1
==================================================================
"""


@pytest.mark.parametrize("frame", ["[<0000000057eb4a66>] ", ""], ids=["6.1", "6.12"])
def test_waiver_covers_the_name_that_slub_leaks_but_no_other_leak(frame: str) -> None:
    leak = LEAK.replace("{}", frame)
    ours = leak.replace("kobject_init_and_add", "ksm_node_create")
    waivers = load_waivers(ALLOWED)
    assert any(waiver.pattern.search(leak) for waiver in waivers)
    assert not any(waiver.pattern.search(ours) for waiver in waivers)


@pytest.mark.parametrize("place", ["write", "read", "caller"])
def test_data_race_is_waived_unless_a_stack_has_a_frame_of_the_driver(place: str) -> None:
    kernel = ["do_a+0x1/0x2", "do_b+0x3/0x4", "worker_thread+0x5/0x6"]
    at = ["write", "read", "caller"].index(place)
    driver = [*kernel]
    driver[at] += " [ksm]"
    for frames, wanted in ((kernel, 0), (driver, 1)):
        report = RACE.format(*frames).splitlines()
        # A later line of the log is not part of the report.
        log = [*report, "ksm: loaded, in worker_thread+0x5/0x6 [ksm]"]
        counted, waived = complaints(log, load_waivers(ALLOWED))
        assert (len(counted), len(waived)) == (wanted, 1 - wanted)


def test_the_slice_of_the_console_begins_at_the_last_mark() -> None:
    log = ["a", f"[1.0] {MARK}x::one", "b", f"[2.0] {MARK}x::one", "c", "d"]
    assert slice_of(log, "x::one") == ["c", "d"]
    assert slice_of(log, "x::two") == log
