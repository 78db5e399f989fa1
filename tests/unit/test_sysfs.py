"""Typed attributes over a directory that looks like the driver's."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from ksmlab import patience
from ksmlab.pytest_plugin.leg import SLOW_VARIABLE
from ksmlab.sysfs import KsmSysfs, Run, SysfsError, WaitTimeoutError

if TYPE_CHECKING:
    from pathlib import Path

VALUES = {
    "run": 0,
    "pages_to_scan": 100,
    "sleep": 20000,
    "max_kernel_pages": 0,
    "max_page_sharing": 256,
    "pages_shared": 7,
    "kernel_pages_allocated": 3,
    "zero_pages": 4,
    "full_scans": 5,
    "pages_volatile": 2,
    "skipped/pinned": 1,
    "skipped/swapped": 0,
}


@pytest.fixture(params=["ksm", "ksm_dev"])
def sys(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    directory = tmp_path / "kernel/mm" / request.param
    (directory / "skipped").mkdir(parents=True)
    for name, value in VALUES.items():
        (directory / name).write_text(f"{value}\n")
    parameters = tmp_path / "module/ksm/parameters"
    parameters.mkdir(parents=True)
    (parameters / "sysfs_dir").write_text(f"{request.param}\n")
    return tmp_path


def test_the_module_names_the_directory(sys: Path) -> None:
    found = KsmSysfs.find(sys)
    assert found.directory.name == (sys / "module/ksm/parameters/sysfs_dir").read_text().strip()
    assert (found.pages_shared, found.kernel_pages_allocated) == (7, 3)


def test_settings_are_written(sys: Path) -> None:
    ksm = KsmSysfs.find(sys)
    ksm.run = Run.SCAN
    ksm.sleep = 500
    assert (ksm.run, ksm.sleep) == (1, 500)


def test_counters_cannot_be_written(sys: Path) -> None:
    with pytest.raises(AttributeError):
        KsmSysfs.find(sys).pages_shared = 1  # type: ignore[assignment]


def test_counters_are_one_value(sys: Path) -> None:
    counters = KsmSysfs.find(sys).counters()
    assert counters.skipped == {"pinned": 1, "swapped": 0}
    assert counters.full_scans == 5
    assert "pages_shared=7" in str(counters)
    assert "skipped: pinned=1" in str(counters)


def test_settings_come_back(sys: Path) -> None:
    ksm = KsmSysfs.find(sys)
    with ksm.settings(run=1, pages_to_scan=9):
        assert (ksm.run, ksm.pages_to_scan) == (1, 9)
    assert (ksm.run, ksm.pages_to_scan) == (0, 100)


def test_a_missing_module_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SysfsError, match="insmod"):
        KsmSysfs.find(tmp_path)


def test_a_missing_directory_is_named(sys: Path) -> None:
    (sys / "module/ksm/parameters/sysfs_dir").write_text("elsewhere\n")
    with pytest.raises(SysfsError, match="elsewhere"):
        KsmSysfs.find(sys)


def test_a_missing_attribute_is_named(sys: Path) -> None:
    ksm = KsmSysfs.find(sys)
    with pytest.raises(SysfsError, match="no_such"):
        ksm.read("no_such")
    with pytest.raises(SysfsError, match="keeps its old value"):
        ksm.write("no_such", 1)
    (ksm.directory / "sleep").write_text("soon\n")
    with pytest.raises(SysfsError, match="does not contain a number"):
        _ = ksm.sleep


def test_waiting_ends_with_the_condition(sys: Path) -> None:
    ksm = KsmSysfs.find(sys)
    timer = threading.Timer(0.1, lambda: (ksm.directory / "pages_shared").write_text("100\n"))
    timer.start()
    # A write is not atomic on this file system, so an empty read may come in between.
    ksm.wait_until(lambda s: (s.directory / "pages_shared").read_text() == "100\n", 10)
    timer.join()
    assert ksm.pages_shared == 100


def test_waiting_too_long_shows_what_was_there(sys: Path) -> None:
    ksm = KsmSysfs.find(sys)
    start = time.monotonic()
    with pytest.raises(
        WaitTimeoutError, match=r"for merges; last seen: run=0 pages_shared=7"
    ) as caught:
        ksm.wait_until(lambda s: s.pages_shared > 7, 0.1, "merges")
    assert time.monotonic() - start < 5
    assert caught.value.last.pages_shared == 7


def test_waiting_goes_on_for_longer_where_things_take_longer(
    sys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KSMLAB_SLOW", "4")
    assert patience.SLOW_VARIABLE == SLOW_VARIABLE == "KSMLAB_SLOW"
    start = time.monotonic()
    with pytest.raises(WaitTimeoutError, match=r"0\.4"):
        KsmSysfs.find(sys).wait_until(lambda s: s.pages_shared > 7, 0.1, "merges")
    assert time.monotonic() - start >= 0.4


def test_waiting_for_scans_leaves_out_the_one_under_way(sys: Path) -> None:
    ksm = KsmSysfs.find(sys)
    with pytest.raises(TimeoutError, match="full_scans to be 8"):
        ksm.wait_full_scans(2, deadline=0.05)
