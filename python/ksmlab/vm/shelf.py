"""Create entries of the cache in a temporary directory, and rename them to their final path when they are complete.

An interrupted download or build therefore never becomes an entry. The shelf is the directory that contains the entries;
the caller must hold its lock.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.path_checks import tool_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Temporary directories begin with this prefix; entries do not.
PREFIX = ".tmp-"


@contextlib.contextmanager
def scratch(shelf: Path) -> Iterator[Path]:
    """Create a temporary directory on the shelf for the block, and remove it afterwards.

    Temporary directories of earlier processes are removed first. Since the caller holds the lock, these processes have
    been killed.

    Raises:
        VmError: The block failed because the file system is full or read-only.
    """
    shelf.mkdir(parents=True, exist_ok=True)
    for left in shelf.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    with (
        tool_errors(shelf),
        tempfile.TemporaryDirectory(dir=shelf, prefix=PREFIX) as made,
    ):
        yield Path(made)


def put(made: Path, place: Path) -> None:
    """Rename a new entry to its final path. An old entry there is moved to the scratch directory, to be removed.

    Args:
        made: The new entry, in a directory made by `scratch`.
        place: Its final path.
    """
    if place.exists():
        place.rename(made.with_name("replaced"))
    made.rename(place)
