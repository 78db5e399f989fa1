"""The calls that move memory between NUMA nodes, over ctypes.

Each raises OSError with the errno of the call. Source: move_pages(2), migrate_pages(2), mbind(2).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

_libc = ctypes.CDLL(None, use_errno=True)
_MBIND, _MIGRATE_PAGES, _MOVE_PAGES = 237, 256, 279
_PREFERRED, _MOVE, _MOVE_ALL = 1, 2, 4
#: Bits of a node mask; the kernel takes one less than it is told.
_MASK_BITS = 64


def nodes() -> list[int]:
    """Return the nodes that have memory."""
    found = Path("/sys/devices/system/node").glob("node[0-9]*")
    return sorted(int(path.name.removeprefix("node")) for path in found)


def _mask(chosen: Sequence[int]) -> ctypes.c_ulong:
    return ctypes.c_ulong(sum(1 << node for node in chosen))


def _call(name: str, *arguments: object) -> int:
    result = int(_libc.syscall(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def drain() -> None:
    """Empty the per-CPU lists of pages that go to or leave an LRU list. They hold a reference to each of their pages.

    Each move_pages() does so before it moves pages. This one moves none.
    """
    none = ctypes.byref(ctypes.c_int())
    _call("move_pages", _MOVE_PAGES, 0, ctypes.c_ulong(0), none, none, none, _MOVE)


def prefer(address: int, npages: int, node: int) -> None:
    """Have a range prefer a node, and move there what is not (mbind)."""
    mask = _mask([node])
    length = ctypes.c_ulong(npages * PAGE_SIZE)
    where = ctypes.c_void_p(address)
    _call("mbind", _MBIND, where, length, _PREFERRED, ctypes.byref(mask), _MASK_BITS, _MOVE)


def migrate(pid: int, source: int, target: int) -> None:
    """Move all of a process from one node to another."""
    old, new = _mask([source]), _mask([target])
    _call("migrate_pages", _MIGRATE_PAGES, pid, _MASK_BITS, ctypes.byref(old), ctypes.byref(new))


def move(address: int, targets: Sequence[int], shared: bool = False) -> list[int]:
    """Move consecutive pages of this process, each to a node of its own.

    Args:
        address: Address of the first page.
        targets: The node for each page.
        shared: Also move pages that are mapped more than once (MPOL_MF_MOVE_ALL).

    Returns:
        The status of each: the node it is on, or a negative errno.
    """
    count = len(targets)
    pages = (ctypes.c_void_p * count)(*(address + page * PAGE_SIZE for page in range(count)))
    wanted = (ctypes.c_int * count)(*targets)
    status = (ctypes.c_int * count)()
    how = _MOVE_ALL if shared else _MOVE
    _call("move_pages", _MOVE_PAGES, 0, ctypes.c_ulong(count), pages, wanted, status, how)
    return list(status)
