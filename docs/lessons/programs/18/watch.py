"""The files of the kernel's own KSM: read counters, and wait for scans."""

import sys
import time
from pathlib import Path

KSM = Path("/sys/kernel/mm/ksm")
MADV_MERGEABLE = 12
SECONDS = 400


def read(name: str) -> int:
    """Return a counter."""
    return int((KSM / name).read_text())


def write(name: str, value: object) -> None:
    """Change a setting."""
    (KSM / name).write_text(f"{value}\n")


def show(*names: str) -> None:
    """Print counters, one on each line."""
    for name in names:
        print(f"{name}: {read(name)}")


def wait_scans(count: int) -> None:
    """Wait until ksmd has completed some more scans of all memory."""
    until = read("full_scans") + count
    end = time.monotonic() + SECONDS
    while read("full_scans") < until:
        if time.monotonic() > end:
            sys.exit("ksmd scans too slowly, or it has no memory to scan")
        time.sleep(0.02)
