"""Where the harness's tests run, and a look at the processes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.kernels import KernelStore, cache_root, load_specs

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKOUT = Path(__file__).resolve().parents[2]


def usual_kernel() -> str:
    """Return the oldest tested kernel in the cache, or else the newest tested one, without access to the archive."""
    store = KernelStore(load_specs(CHECKOUT / "vm/kernels.toml"), cache_root())
    return next((name for name in reversed(store.tested) if store.find(name)), store.tested[0])


KERNEL = os.environ.get("KERNEL") or usual_kernel()


def group(pgid: int) -> dict[int, str]:
    """Give the living processes of a process group: name by pid."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        name, rest = text[text.index("(") + 1 :].rsplit(")", 1)
        state, _parent, its_group = rest.split()[:3]
        if int(its_group) == pgid and state != "Z":
            found[int(stat.parent.name)] = name
    return found


def gone(pgid: int, seconds: float = 10) -> bool:
    """Wait until nothing of a process group is left; say whether that came true in time."""
    return until(lambda: not group(pgid), seconds)


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Wait for a condition; say whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
