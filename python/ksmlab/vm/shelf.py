"""How an entry of the cache is made: beside its place, and renamed into it when it is whole.

So a broken download, or a build that was killed, never becomes an entry. The caller holds the lock of the shelf.
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

#: What no entry's name begins with.
PREFIX = ".tmp-"


@contextlib.contextmanager
def scratch(shelf: Path) -> Iterator[Path]:
    """Give a directory on the shelf to make an entry in; it goes with all that is left in it.

    What others left there goes, too: since the caller holds the lock, they were killed.

    Raises:
        VmError: The file system is full or read-only, as an error of the block or the log of one says.
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
    """Rename what was made in a scratch directory into its place; what stood there goes with the scratch directory."""
    if place.exists():
        place.rename(made.with_name("replaced"))
    made.rename(place)
