"""The driver with some edits: a copy of its sources in which something is left out, for a lesson or an exercise."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from pathlib import Path


def patch(sources: Path, edits: Path) -> None:
    """Edit a copy of kernel/.

    Args:
        sources: The copy.
        edits: A file of tables ``[[edit]]`` with ``file``, ``old``, which stands there once, and ``new``.

    Raises:
        VmError: An edit does not fit the sources any more.
    """
    for edit in tomllib.loads(edits.read_text())["edit"]:
        path = sources / edit["file"]
        text = path.read_text()
        if text.count(edit["old"]) != 1:
            raise VmError(
                f"{edits.name}: {edit['old']!r} does not stand in kernel/{edit['file']} exactly once.",
                untouched="Nothing was built.",
                hint=f"The driver has changed: change {edits} with it.",
            )
        path.write_text(text.replace(edit["old"], edit["new"]))
