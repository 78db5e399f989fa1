"""The parts of the engines that need no kernel: the accounting of CPU time, idle pages, and settings."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from ksmlab.bench import figures
from ksmlab.bench.engines import HASH_REST, DriverEngine, read_all


@pytest.mark.parametrize(
    ("counted", "woken", "used"),
    [
        # The process woke up with the usual delay: the kernel's count is right.
        (900, 1050, 900),
        # The scanner kept the CPU for 500 more, which the kernel has charged to the process.
        (900, 1550, 1400),
        # The host did not run the VM before the timer expired: the kernel has counted that already.
        (1500, 1550, 1500),
        # The scanner slept for most of the time.
        (10, 1052, 12),
    ],
)
def test_time_until_the_scanner_yields_the_cpu_counts_as_its_own(
    counted: int, woken: int, used: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    clock = iter([0, woken, 0])
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(clock))
    engine = DriverEngine.__new__(DriverEngine)
    for name, value in (("cpu", counted), ("saved", 0), ("scans", 0)):
        (tmp_path / name).write_text(f"{value}\n")
    engine._files = [os.open(tmp_path / name, os.O_RDONLY) for name in ("cpu", "saved", "scans")]
    engine._cpu = engine._counted = engine._kept = engine._elapsed = 0
    engine._prompt = 50
    engine.wait(1e-6)
    assert engine.look().cpu_ns == used
    engine.close()


def test_idle_passes_agree_with_the_drivers_constants() -> None:
    source = (Path(__file__).resolve().parents[2] / "kernel/ksm.h").read_text()
    least, most = (
        int(re.findall(rf"#define KSM_IDLE_{end}\s+(\d+)", source)[0]) for end in ("MIN", "MAX")
    )
    longest = 1 << (most - least)
    assert HASH_REST.cycle == longest + 1
    # One active pass, a scan for each further idle step, and between them the skipped passes: 1, 2, 4 ...
    assert HASH_REST.settle >= 1 + most + (longest - 1)
    # The measured passes come after one that had already begun, and one more.
    assert 1 + least >= 2 + figures.FULL_PASSES


def test_settings_that_a_kernel_lacks_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "sleep").write_text("20\n")
    assert read_all(tmp_path, ("sleep", "advisor_mode")) == {"sleep": "20"}
