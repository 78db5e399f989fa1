"""The files in /sys/kernel/mm/ksm: what they mean, what they refuse, what they default to."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import kksmd
import pytest

from ksmlab import content, pagemap
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs, SysfsError

if TYPE_CHECKING:
    from collections.abc import Iterator

SIX = (
    "run",
    "pages_to_scan",
    "sleep",
    "max_kernel_pages",
    "pages_shared",
    "kernel_pages_allocated",
)
SETTINGS = (*SIX[:4], "max_page_sharing")
#: The maximum number of passes that skip an idle chunk (IDLE_MIN and IDLE_MAX in kernel/pass.c).
RESTING = 32


@pytest.fixture
def ksm() -> KsmSysfs:
    return KsmSysfs.find()


def test_the_six_files_are_there(ksm: KsmSysfs) -> None:
    assert ksm.directory == Path("/sys/kernel/mm/ksm")
    assert set(SIX) <= set(os.listdir(ksm.directory))


def test_defaults_are_useful(ksm: KsmSysfs) -> None:
    assert ksm.run == 0
    assert ksm.pages_to_scan >= 100
    assert 1000 <= ksm.sleep <= 1_000_000
    assert ksm.max_page_sharing == 256
    pages = os.sysconf("SC_PHYS_PAGES")
    assert pages // 8 <= ksm.max_kernel_pages <= pages


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("text", ["", "x", "-1", "1 2", "0x10", "1.5", "99999999999999999999"])
def test_what_does_not_parse_is_einval(ksm: KsmSysfs, name: str, text: str) -> None:
    before = ksm.read(name)
    if not text:
        text = "\n"
    with pytest.raises(SysfsError) as caught:
        ksm.write(name, text)
    assert caught.value.errno == errno.EINVAL
    assert ksm.read(name) == before


def test_run_takes_0_1_2_alone(ksm: KsmSysfs) -> None:
    with pytest.raises(SysfsError) as caught:
        ksm.write("run", "3")
    assert caught.value.errno == errno.EINVAL
    with ksm.settings(run=0):
        for value in (1, 2, 0):
            ksm.run = value
            assert ksm.run == value


@pytest.mark.parametrize("name", ["pages_to_scan", "sleep"])
def test_32_bits_and_no_more(ksm: KsmSysfs, name: str) -> None:
    with ksm.settings(**{name: ksm.read(name)}):
        ksm.write(name, str((1 << 32) - 1))
        with pytest.raises(SysfsError):
            ksm.write(name, str(1 << 32))


@pytest.mark.parametrize(
    ("name", "least", "most"), [("max_page_sharing", 2, 511), ("threads", 1, 16)]
)
def test_values_outside_the_range_are_einval(
    ksm: KsmSysfs, name: str, least: int, most: int
) -> None:
    with ksm.settings(**{name: ksm.read(name)}):
        for value in (least, most):
            ksm.write(name, value)
            assert ksm.read(name) == value
        for value in (least - 1, most + 1, 0):
            with pytest.raises(SysfsError) as caught:
                ksm.write(name, value)
            assert caught.value.errno == errno.EINVAL
            assert ksm.read(name) == most


def test_the_counters_cannot_be_written(ksm: KsmSysfs) -> None:
    names = ("pages_shared", "kernel_pages_allocated", "zero_pages", "full_scans", "skipped/pinned")
    for name in names:
        assert (ksm.directory / name).stat().st_mode & 0o222 == 0


def test_run_0_stops_and_keeps_what_is_merged(scanning: KsmSysfs) -> None:
    with KsmDevice() as device, device.create_area() as area, Arena(64) as arena:
        arena.fill(content.equal(64))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 63, 60, "63 pages shared")
        scanning.run = 0
        stopped = scanning.full_scans
        arena.write(0, b"x")
        arena.write(0, b"")
        assert scanning.full_scans <= stopped + 1
        assert scanning.pages_shared == 63
        assert pagemap.distinct(pagemap.frames(None, arena.address, 64)) == 2


def test_run_2_unmerges_everything_and_stops(scanning: KsmSysfs) -> None:
    with KsmDevice() as device, device.create_area() as area, Arena(512) as arena:
        arena.fill(content.groups(512, 4))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 384, 60, "384 pages shared")
        assert scanning.kernel_pages_allocated == 128
        scanning.run = 2
        assert scanning.run == 2
        assert scanning.pages_shared == 0
        assert scanning.kernel_pages_allocated == 0
        assert pagemap.distinct(pagemap.frames(None, arena.address, 512)) == 512
        assert arena.verify() == []
        scanning.run = 1
        scanning.wait_until(lambda s: s.pages_shared == 384, 60, "384 pages shared again")
        assert arena.verify() == []


def test_the_pace_is_pages_to_scan_a_sleep(scanning: KsmSysfs) -> None:
    """2,000 pages at 100 every 20 ms are at least 0.4 s a pass, however fast the machine is."""
    with KsmDevice() as device, device.create_area() as area, Arena(2000, huge=False) as arena:
        # Where something is merged, no pass leaves anything out.
        arena.fill(content.groups(2000, 4))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 1500, 60, "1500 pages shared")
        with scanning.settings(pages_to_scan=100, sleep=20000):
            assert kksmd.pass_takes(scanning, 0.4 * 0.9)


@pytest.fixture
def rested(scanning: KsmSysfs) -> Iterator[Arena]:
    """Memory that many passes found as it was, so that they come by less often; now it has pairs."""
    with KsmDevice() as device, device.create_area() as area, Arena(2048, huge=False) as arena:
        arena.fill(content.unique(2048))
        area.register(arena)
        scanning.wait_full_scans(40)
        arena.fill(content.groups(2048, 2))
        yield arena
        assert arena.verify() == []


@pytest.mark.usefixtures("rested")
def test_a_write_to_run_has_everything_looked_at_again(scanning: KsmSysfs) -> None:
    # A pass that finds the mmap lock contended ends at once. With this sleep, few such passes follow each other.
    with scanning.settings(sleep=2000):
        passes = scanning.full_scans
        scanning.run = 1
        scanning.wait_until(lambda s: s.pages_shared == 1024, 60, "1024 pages shared")
        # One pass finds the pages volatile, and the next one merges them. The others are for pages that are busy.
        assert scanning.full_scans - passes <= RESTING // 2


@pytest.mark.usefixtures("rested")
def test_what_rests_is_looked_at_again_in_time(scanning: KsmSysfs) -> None:
    scanning.wait_until(lambda s: s.pages_shared == 1024, 60, "1024 pages shared")


def test_a_shorter_sleep_is_felt_at_once(scanning: KsmSysfs) -> None:
    with KsmDevice() as device, device.create_area() as area, Arena(16) as arena:
        arena.fill(content.equal(16))
        with scanning.settings(sleep=(1 << 32) - 1):
            area.register(arena)
            scanning.sleep = 1000
            scanning.wait_full_scans(2, deadline=20)


def test_nothing_to_scan_a_batch_costs_nothing(scanning: KsmSysfs) -> None:
    with KsmDevice() as device, device.create_area() as area, Arena(16) as arena:
        area.register(arena)
        with scanning.settings(pages_to_scan=0, sleep=0):
            before = kksmd.runtime()
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                assert kksmd.runtime() - before < 0.2
        scanning.wait_full_scans(1)


def test_kksmd_freezes_while_it_scans(scanning: KsmSysfs) -> None:
    """A suspend that stops after the freezing of tasks: one that does not freeze fails it."""
    with KsmDevice() as device, device.create_area() as area, Arena(8192) as arena:
        arena.fill(content.unique(8192))
        with scanning.settings(sleep=0):
            area.register(arena)
            scanning.wait_full_scans(1)
            test = Path("/sys/power/pm_test")
            test.write_text("freezer")
            try:
                Path("/sys/power/state").write_text("freeze")
            finally:
                test.write_text("none")
            scanning.wait_full_scans(1)
