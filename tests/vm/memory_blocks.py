"""Memory blocks, the units in which the kernel takes memory offline.

Source: Documentation/admin-guide/mm/memory-hotplug.rst.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ksmlab.libc import PAGE_SIZE

ROOT = Path("/sys/devices/system/memory")


@dataclass(frozen=True)
class MemoryBlock:
    """A block of memory, by its number."""

    number: int

    @property
    def _state(self) -> Path:
        return ROOT / f"memory{self.number}" / "state"

    def offline(self) -> None:
        """Take the block offline.

        Raises:
            OSError: The kernel refuses: EBUSY if there is a page in it that does not move.
        """
        self._state.write_text("offline")

    def online(self) -> None:
        """Bring the block back."""
        self._state.write_text("online")

    def can_go_offline(self) -> bool:
        """Return whether the block can be taken offline now; it is online afterwards."""
        try:
            self.offline()
        except OSError:
            return False
        self.online()
        return True


def blocks() -> list[MemoryBlock]:
    """Return all blocks that are online; none if the kernel cannot take memory offline."""
    return [
        MemoryBlock(int(path.name.removeprefix("memory")))
        for path in sorted(ROOT.glob("memory[0-9]*"))
        if (path / "state").read_text() == "online\n"
    ]


def block_of(frame: int) -> MemoryBlock:
    """Return the block that a page frame is in."""
    size = int((ROOT / "block_size_bytes").read_text(), 16)
    return MemoryBlock(frame * PAGE_SIZE // size)
