"""What the program has to ask of the kernel; fake_kernel.c answers for it."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
VERSION, CREATE, REGISTER = "0xab00", "0xab01", "0x4018ab20"


def run(tmp_path: Path, **answers: int) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run it with 5 pages; return how it ended, and of each ioctl the descriptor, the number, the bytes."""
    log = tmp_path / "log"
    log.touch()
    fake = {f"FAKE_{name.upper()}": str(value) for name, value in answers.items()}
    done = subprocess.run(
        [HERE / "register", "5"],
        env={
            **os.environ,
            **fake,
            "LD_PRELOAD": str(HERE / "fake_kernel.so"),
            "FAKE_LOG": str(log),
        },
        input="\n",
        capture_output=True,
        text=True,
        check=False,
    )
    return done, [line.split() for line in log.read_text().splitlines()]


def test_it_asks_for_the_version_makes_an_area_and_registers(tmp_path: Path) -> None:
    done, calls = run(tmp_path)
    assert [call[:2] for call in calls] == [
        ["device", VERSION],
        ["device", CREATE],
        ["area", REGISTER],
    ]
    assert done.returncode == 0, done.stderr


def test_the_region_is_the_memory_that_was_filled(tmp_path: Path) -> None:
    _, calls = run(tmp_path)
    assert calls, "there was no ioctl"
    _, _, argument, content = calls[-1]
    npages, _, addr, _ = struct.unpack("=IIQQ", bytes.fromhex(argument))
    assert npages == 5
    assert addr % 4096 == 0
    assert content == "k"


def test_another_version_gets_no_memory(tmp_path: Path) -> None:
    done, calls = run(tmp_path, version=2)
    assert [call[1] for call in calls] == [VERSION]
    assert done.returncode == 1


def test_what_the_kernel_refuses_is_said(tmp_path: Path) -> None:
    done, calls = run(tmp_path, errno=errno.EEXIST)
    assert calls, "there was no ioctl"
    assert calls[-1][:2] == ["area", REGISTER]
    assert done.returncode == 1
    assert os.strerror(errno.EEXIST) in done.stderr
