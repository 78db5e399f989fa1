"""Where on the host a VM can have its files: not everything that is there can be seen in it, or be said to it."""

from __future__ import annotations

import re
from pathlib import Path

from ksmlab.vm.errors import VmError

#: Where a guest of virtme-ng (1.42) has file systems of its own, as its /proc/mounts says.
HIDDEN = tuple(
    map(Path, ("/dev", "/proc", "/run", "/sys", "/var/cache", "/var/lib/private", "/var/log", "/var/tmp"))
)  # fmt: skip
UNTOUCHED = "Nothing was built, and no VM was started."


def check_name(path: Path) -> None:
    """See whether a path may stand in a command of make's, of virtme-ng's, or of the kernel's.

    Raises:
        VmError: It has a space in it.
    """
    if re.search(r"\s", str(path.absolute())):
        raise VmError(
            f"There is a space in {str(path.absolute())!r}: kbuild and the kernel's command line take none.",
            untouched=UNTOUCHED,
            hint="Move it to a path without spaces; a virtual environment in it has to be made anew.",
        )


def check_place(path: Path) -> None:
    """See whether a guest finds at a path what the host has there.

    Raises:
        VmError: It has a space in it, or the guest has something of its own there.
    """
    check_name(path)
    for hidden in HIDDEN:
        if path.resolve().is_relative_to(hidden):
            raise VmError(
                f"{path} cannot be seen in a VM, which has a {hidden} of its own.",
                untouched=UNTOUCHED,
                hint=f"Move it out of {hidden}; a virtual environment in it has to be made anew.",
            )
