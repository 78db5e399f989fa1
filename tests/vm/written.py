"""Change settings of the kernel during a test."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def written(values: dict[Path, str]) -> Iterator[None]:
    """Write values to files in this order, and restore the old values in the reverse order after the block."""
    old = {path: path.read_text().strip() for path in values}
    try:
        for path, value in values.items():
            path.write_text(value)
        yield
    finally:
        for path, value in reversed(old.items()):
            path.write_text(value)
