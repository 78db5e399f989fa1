"""The drawings of how the driver works: docs/images/*.svg.

Some are drawn from what they show (`GENERATED`). The others are SVG files that are edited by hand (`PLAIN`), except for
the style sheet that all of them share. In docs/, ``python -m drawings`` writes both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from drawings import (
    address,
    cost,
    hash_index,
    ioctl_number,
    ksm_today,
    lock_order,
    module_life,
    shadow_memory,
    skips,
    write_times,
)
from drawings.canvas import styled

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = Path(__file__).resolve().parents[1] / "images"
#: The name of the file, without ".svg", and the function that returns it.
GENERATED: dict[str, Callable[[], str]] = {
    one.NAME: one.draw
    for one in (
        address,
        cost,
        hash_index,
        ioctl_number,
        ksm_today,
        lock_order,
        module_life,
        shadow_memory,
        skips,
        write_times,
    )
}
PLAIN = (
    "guest-tables",
    "history",
    "page-tables",
    "pagemap",
    "race-o-direct",
    "replace-page",
    "rmap",
    "symbol-binding",
    "tlb-shootdown",
    "trees",
)
NAMES = (*GENERATED, *PLAIN)


def current(name: str) -> str:
    """Return what the file of a drawing has to contain.

    Raises:
        ValueError: the source of the drawing does not have what the drawing shows.
        OSError: a file cannot be read.
    """
    if draw := GENERATED.get(name):
        return draw()
    return styled((IMAGES / f"{name}.svg").read_text())


def stale() -> list[Path]:
    """Return the files that differ from their sources."""
    paths = {name: IMAGES / f"{name}.svg" for name in NAMES}
    return [
        path
        for name, path in paths.items()
        if not path.exists() or path.read_text() != current(name)
    ]
