"""Create loop devices over files in memory, and use them for swap."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def disk(image: Path) -> Iterator[Path]:
    """Provide a loop device over a file during the block."""
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
    """Enable 64 MiB of swap during the block, on a loop device over a file in memory (/tmp), and free it afterwards."""
    image = tmp_path / "swap"
    image.write_bytes(bytes(64 << 20))
    with disk(image) as loop:
        # Only the device refers to the file now, so the file is freed with the device.
        image.unlink()
        subprocess.run(["mkswap", loop], check=True, capture_output=True)
        subprocess.run(["swapon", loop], check=True)
        try:
            yield
        finally:
            subprocess.run(["swapoff", loop], check=True)
