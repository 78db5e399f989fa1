"""Measure holds of ksm_lock in a VM, show the longest ones, and compare them with the bound."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ksmlab.bench.holds import Longest
from ksmlab.bench.lock_tracer import SHORTEST
from ksmlab.bench.metrics import nanoseconds
from ksmlab.bench.plan import HASH, TREE
from ksmlab.bench.runner import Wanted, run_in
from ksmlab.bench.tables import ENGINE_TITLES, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ksmlab.bench.result import Results
    from ksmlab.lab import Lab
    from ksmlab.vm.accel import Accel

#: The bound for all holds of ksm_lock: 1 ms, which is 500,000 instructions at 2 ns each.
BOUND_NS = 1_000_000
#: The pages of the dense memory, and the stride of the 16 GiB. More pages are present than in `ksmlab bench --check`.
PAGES, STRIDE = 4096, 256
JSON_NAME = "holds.json"


@dataclass(frozen=True)
class Measured:
    """The longest holds on one kernel.

    Attributes:
        kernel: The name of the kernel in vm/kernels.toml.
        release: Its release, as printed by uname -r.
        longest: The longest hold of each operation.
    """

    kernel: str
    release: str
    longest: tuple[Longest, ...]


def wanted(kernels: Sequence[str]) -> Wanted:
    """Return the measurements for these kernels."""
    return Wanted(
        kernels=tuple(kernels),
        engines=(HASH, TREE),
        workloads=(),
        npages=0,
        runs=1,
        limit=False,
        held_pages=PAGES,
        held_stride=STRIDE,
        counted=True,
    )


def measure(lab: Lab, kernel: str, accel: Accel) -> Measured:
    """Measure on one kernel, and show each result when it is available.

    Raises:
        VmError: The VM or the program in the guest failed.
    """
    releases: list[str] = []
    found: list[Longest] = []

    def take(data: dict[str, Any]) -> None:
        if data.pop("kind") == "guest":
            releases.append(data["release"])
            return
        found.append(Longest(**data))
        lab.progress.say("  ".join(_row(found[-1])))

    run_in(lab, kernel, wanted([kernel]), accel, take, module="ksmlab.bench.holds")
    return Measured(kernel, "".join(releases), tuple(found))


def too_long(longest: Iterable[Longest]) -> list[Longest]:
    """Return the operations that hold ksm_lock for longer than the bound."""
    return [one for one in longest if one.ns is not None and one.ns > BOUND_NS]


def describe(one: Longest) -> str:
    """Describe a hold in a few words."""
    return f"{one.operation} ({one.index}): {nanoseconds(one.ns or 0)}, dropped in {one.where or one.task}"


def _row(one: Longest) -> tuple[str, ...]:
    held = f"< {nanoseconds(SHORTEST)}" if one.ns is None else nanoseconds(one.ns)
    engine = ENGINE_TITLES.get(one.index, one.index)
    return (one.operation, engine, one.task, one.where, held, "no" if too_long([one]) else "yes")


def table(release: str, longest: Iterable[Longest]) -> Table:
    """Return a table with the longest hold of each operation, and whether it is within the bound."""
    head = ("operation", "engine", "thread", "dropped in", "held", f"≤ {nanoseconds(BOUND_NS)}")
    rows = tuple(_row(one) for one in longest)
    return Table(
        f"Longest holds of ksm_lock on {release}, 16 GiB registered", head, rows, numeric=4
    )


def write(found: Sequence[Measured], described: Results, directory: Path) -> Path:
    """Write holds.json to a directory, and return its path.

    Args:
        found: The results.
        described: The command, the commit, the host and the time, which are stored as well.
        directory: The directory, which is created if it does not exist.

    Raises:
        OSError: The file cannot be written.
    """
    about = {name: getattr(described, name) for name in ("command", "commit", "machine", "when")}
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / JSON_NAME
    data = about | {"bound_ns": BOUND_NS, "kernels": [asdict(one) for one in found]}
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path
