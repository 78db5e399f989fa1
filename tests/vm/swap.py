"""Swap for a test, made of a file in memory."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def swap(tmp_path: Path) -> Iterator[None]:
    """64 MiB of swap on a RAM disk: a loop device over a file in /tmp."""
    image = tmp_path / "swap"
    image.write_bytes(bytes(64 << 20))
    subprocess.run(["modprobe", "loop"], check=True)
    loop = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        subprocess.run(["mkswap", loop], check=True, capture_output=True)
        subprocess.run(["swapon", loop], check=True)
        try:
            yield
        finally:
            subprocess.run(["swapoff", loop], check=True)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)
