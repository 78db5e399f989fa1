"""Edit a copy of the driver's sources, for a lesson or an exercise."""

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
        edits: A TOML file with tables ``[[edit]]``. Each has the keys ``file``, ``old`` and ``new``, and replaces the
            only occurrence of ``old`` in the file with ``new``.

    Raises:
        VmError: An edit does not match the sources any more.
    """
    for edit in tomllib.loads(edits.read_text())["edit"]:
        path = sources / edit["file"]
        text = path.read_text()
        if text.count(edit["old"]) != 1:
            raise VmError(
                f"{edits.name} cannot be applied: kernel/{edit['file']} does not contain {edit['old']!r} exactly once.",
                untouched="Nothing was built.",
                hint=f"The driver has changed, so adapt {edits}.",
            )
        path.write_text(text.replace(edit["old"], edit["new"]))
