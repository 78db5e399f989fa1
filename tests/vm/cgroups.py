"""Memory cgroups (version 2) for tests."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where a test mounts the hierarchy, if nothing else has.
MOUNT = Path("/tmp/cgroup2")


def hierarchy() -> Path:
    """Return the root of the cgroup hierarchy with its memory controller enabled, and mount it if necessary.

    Skips the test where the kernel has no memory controller.
    """
    root = next((p for p in (Path("/sys/fs/cgroup"), MOUNT) if (p / "cgroup.procs").exists()), None)
    if root is None:
        MOUNT.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "cgroup2", "none", str(MOUNT)], check=True)
        root = MOUNT
    if "memory" not in (root / "cgroup.controllers").read_text().split():
        pytest.skip("this kernel has no memory controller (CONFIG_MEMCG)")
    (root / "cgroup.subtree_control").write_text("+memory")
    return root


@dataclass(frozen=True)
class Cgroup:
    """A memory cgroup."""

    path: Path

    def add(self, pid: int) -> None:
        """Move a process into it."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def limit(self, size: int) -> None:
        """Set its limit, in bytes."""
        (self.path / "memory.max").write_text(str(size))

    @property
    def current(self) -> int:
        """The memory that is charged to it, in bytes."""
        return int((self.path / "memory.current").read_text())

    def event(self, name: str) -> int:
        """Return how often something has happened to it: a line of memory.events."""
        lines = (self.path / "memory.events").read_text().splitlines()
        return {key: int(value) for key, value in map(str.split, lines)}[name]

    def remove(self) -> None:
        """Remove it, once its processes have left."""
        self.path.rmdir()


@contextmanager
def cgroup(name: str) -> Iterator[Cgroup]:
    """A memory cgroup below the root, removed at the end of the with statement if it is still there."""
    path = hierarchy() / name
    path.mkdir()
    try:
        yield Cgroup(path)
    finally:
        if path.exists():
            for pid in (path / "cgroup.procs").read_text().split():
                (path.parent / "cgroup.procs").write_text(pid)
            os.rmdir(path)
