"""Files of the kernel's that hold something else for as long as a test goes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def written(values: dict[Path, str]) -> Iterator[None]:
    """Have files hold these values in the block, written in this order, and undone in reverse."""
    old = {path: path.read_text().strip() for path in values}
    try:
        for path, value in values.items():
            path.write_text(value)
        yield
    finally:
        for path, value in reversed(old.items()):
            path.write_text(value)
