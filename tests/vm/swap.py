"""Disks for a test, made of files in memory: a loop device, and swap on one."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def disk(image: Path) -> Iterator[Path]:
    """Give a loop device over a file."""
    subprocess.run(["modprobe", "loop"], check=True)
    said = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    )
    path = Path(said.stdout.strip())
    try:
        yield path
    finally:
        subprocess.run(["losetup", "--detach", path], check=True)


@contextmanager
def swap(tmp_path: Path) -> Iterator[None]:
    """64 MiB of swap on a RAM disk: a loop device over a file in /tmp, which gets its memory back."""
    image = tmp_path / "swap"
    image.write_bytes(bytes(64 << 20))
    with disk(image) as loop:
        # The device holds the file, and is the last to.
        image.unlink()
        subprocess.run(["mkswap", loop], check=True, capture_output=True)
        subprocess.run(["swapon", loop], check=True)
        try:
            yield
        finally:
            subprocess.run(["swapoff", loop], check=True)
