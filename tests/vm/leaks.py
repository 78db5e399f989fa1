"""Does the driver give back all that it takes?"""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KMEMLEAK = Path("/sys/kernel/debug/kmemleak")
#: kmemleak reports nothing that is younger than 5 s (mm/kmemleak.c).
YOUNG_SECONDS = 6.0


def _tell(command: str) -> bool:
    """Write to kmemleak; return False where it is not there, or is switched off."""
    if not KMEMLEAK.exists():
        return False
    try:
        KMEMLEAK.write_text(command)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EPERM):
            return False
        raise
    return True


@contextmanager
def no_leaks() -> Iterator[None]:
    """Have kmemleak look for what was lost in the block, where the kernel has it.

    Raises:
        AssertionError: its report.
    """
    if not _tell("scan") or not _tell("clear"):
        yield
        return
    yield
    end = time.monotonic() + YOUNG_SECONDS
    while time.monotonic() < end:
        _tell("scan")
    # Of an object whose content changes, the next scan decides.
    _tell("scan")
    report = KMEMLEAK.read_text()
    assert not report, report
