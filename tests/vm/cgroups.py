"""Memory cgroups (version 2) for tests."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The directory where a test mounts the hierarchy, if it is not mounted yet.
MOUNT = Path("/tmp/cgroup2")


def find_hierarchy() -> Path | None:
    """Enable the memory controller, after mounting the cgroup hierarchy if necessary, and return its root directory.

    Returns None if the kernel has no memory controller.
    """
    root = next((p for p in (Path("/sys/fs/cgroup"), MOUNT) if (p / "cgroup.procs").exists()), None)
    if root is None:
        MOUNT.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "cgroup2", "none", str(MOUNT)], check=True)
        root = MOUNT
    if "memory" not in (root / "cgroup.controllers").read_text().split():
        return None
    (root / "cgroup.subtree_control").write_text("+memory")
    return root


def hierarchy() -> Path:
    """Return the root directory of the cgroup hierarchy; skip the test if the kernel has no memory controller."""
    root = find_hierarchy()
    if root is None:
        pytest.skip("this kernel has no memory controller (CONFIG_MEMCG)")
    return root


@dataclass(frozen=True)
class Cgroup:
    """A memory cgroup."""

    path: Path

    def add(self, pid: int) -> None:
        """Move a process into the cgroup."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def limit(self, size: int) -> None:
        """Set the memory limit of the cgroup, in bytes."""
        (self.path / "memory.max").write_text(str(size))

    def slow_down_above(self, size: int) -> None:
        """Set memory.high: the kernel slows down processes while the cgroup uses more than this, in bytes."""
        (self.path / "memory.high").write_text(str(size))

    @property
    def current(self) -> int:
        """The memory that is charged to the cgroup, in bytes."""
        return int((self.path / "memory.current").read_text())

    def event(self, name: str) -> int:
        """Return the count of an event in memory.events, for example "oom_kill"."""
        lines = (self.path / "memory.events").read_text().splitlines()
        return {key: int(value) for key, value in map(str.split, lines)}[name]

    def empty(self) -> None:
        """Move all processes of the cgroup to the root."""
        for pid in (self.path / "cgroup.procs").read_text().split():
            (self.path.parent / "cgroup.procs").write_text(pid)

    def remove(self) -> None:
        """Remove the cgroup, which must have no processes."""
        self.path.rmdir()


@contextmanager
def cgroup(name: str) -> Iterator[Cgroup]:
    """Create a memory cgroup below the root, and remove it at the end of the with statement if it still exists."""
    group = Cgroup(hierarchy() / name)
    group.path.mkdir()
    try:
        yield group
    finally:
        if group.path.exists():
            group.empty()
            group.remove()
