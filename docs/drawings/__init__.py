"""Drawings of how the driver works, as SVG made from source.

``python -m drawings OUT`` in docs/ writes them as files; drawings.pages puts them on pages of the documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drawings import (
    address,
    hash_index,
    lock_order,
    page_tables,
    race,
    replace_page,
    trees,
)
from drawings.canvas import standalone

if TYPE_CHECKING:
    from pathlib import Path

#: All drawings: the name of the file, without ".svg", and the function that returns it.
DRAWINGS = {
    one.NAME: one.draw
    for one in (page_tables, trees, hash_index, address, lock_order, race, replace_page)
}


def write_all(directory: Path) -> list[Path]:
    """Draw everything into a directory, which is made if it is not there.

    Returns:
        The files.

    Raises:
        LockOrderError: the comment in kernel/ksm.h does not read as a lock order.
        OSError: a file cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in DRAWINGS.items():
        paths.append(directory / f"{name}.svg")
        paths[-1].write_text(standalone(draw()))
    return paths
