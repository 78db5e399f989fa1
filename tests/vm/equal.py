"""The arena that most tests of the rules begin with: NPAGES small pages, all alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksmlab.sysfs import KsmSysfs

NPAGES = 64


def shares(least: int, ksm: KsmSysfs) -> bool:
    """Return whether at least this number of page frames is saved."""
    return ksm.pages_shared >= least


def all_merged(ksm: KsmSysfs, pages: int = NPAGES) -> None:
    """Wait until so many pages are one."""
    ksm.wait_until(lambda s: s.pages_shared == pages - 1, 60, f"{pages - 1} pages shared")
