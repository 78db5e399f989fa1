"""The slices of the kernel's log, and the allow-list."""

from __future__ import annotations

import datetime as dt
import errno
from pathlib import Path

import pytest

from ksmlab.pytest_plugin import kernel_log
from ksmlab.pytest_plugin.kernel_log import (
    MARK,
    KernelLog,
    complaints,
    load_excuses,
    slice_of,
)

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
        monkeypatch.setattr(kernel_log.os, "open", lambda *_: 99)
        monkeypatch.setattr(kernel_log.os, "read", self.read)
        monkeypatch.setattr(kernel_log.os, "write", lambda _, data: self.written.append(data))

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


def test_records_that_were_lost_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch, b"6,1,10,-;first\n", errno.EPIPE, b"6,9,90,-;later\n")
    with pytest.raises(RuntimeError, match="overwrote"):
        KernelLog().take()


def test_a_log_that_cannot_be_read_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch, errno.EBADF)
    with pytest.raises(OSError, match="as told"):
        KernelLog().take()


def test_an_excuse_excuses_its_pattern_only(tmp_path: Path) -> None:
    path = tmp_path / "allow.toml"
    path.write_text(ENTRY)
    excuses = load_excuses(path)
    other = WARNING.replace("foo.c", "bar.c")
    counted, excused = complaints([WARNING, "---[ end trace 0 ]---", other], excuses)
    assert [splat.headline for splat in counted] == [other]
    assert [(splat.headline, excuse.reason) for splat, excuse in excused] == [(WARNING, "known")]
    assert excuses[0].since == dt.date(2026, 1, 31)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (ENTRY.replace('reason = "known"\n', ""), "wants pattern, reason and since"),
        (ENTRY.replace("since = 2026-01-31\n", ""), "wants pattern, reason and since"),
        (ENTRY + "until = 1\n", "wants pattern, reason and since"),
        (ENTRY.replace('"known"', '" "'), "reason is not empty"),
        (ENTRY.replace("2026-01-31", "'soon'"), "since is a date"),
        (ENTRY.replace("mm/foo", "mm/(foo"), "pattern: "),
    ],
)
def test_an_excuse_has_a_reason_and_a_date(tmp_path: Path, entry: str, message: str) -> None:
    path = tmp_path / "allow.toml"
    path.write_text(entry)
    with pytest.raises(ValueError, match=message):
        load_excuses(path)


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


@pytest.mark.parametrize("frame", ["[<0000000057eb4a66>] ", ""], ids=["6.1", "6.12"])
def test_a_name_that_the_kernel_loses_is_excused(frame: str) -> None:
    leak = LEAK.replace("{}", frame)
    ours = leak.replace("kobject_init_and_add", "ksm_node_create")
    (excuse,) = load_excuses(ALLOWED)
    assert excuse.pattern.search(leak)
    assert not excuse.pattern.search(ours)


def test_the_slice_of_the_console_begins_at_the_last_mark() -> None:
    log = ["a", f"[1.0] {MARK}x::one", "b", f"[2.0] {MARK}x::one", "c", "d"]
    assert slice_of(log, "x::one") == ["c", "d"]
    assert slice_of(log, "x::two") == log
