"""The host's half of the holds of ksm_lock: boot a kernel, show the longest, and compare them with the bound."""

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

#: No operation holds ksm_lock for longer: 1 ms, which is 500,000 instructions at 2 ns each.
BOUND_NS = 1_000_000
#: Pages of the dense memory, and the stride of the 16 GiB: more than in the check.
PAGES, STRIDE = 4096, 256
JSON_NAME = "holds.json"


@dataclass(frozen=True)
class Measured:
    """The longest holds on one kernel.

    Attributes:
        kernel: Its name in vm/kernels.toml.
        release: What uname -r says in the VM.
        longest: The longest hold of each operation.
    """

    kernel: str
    release: str
    longest: tuple[Longest, ...]


def wanted(kernels: Sequence[str]) -> Wanted:
    """Say what to measure."""
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
    """Measure on one kernel, and show each hold as it comes.

    Raises:
        VmError: The VM or the guest's half failed.
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
    """Write one hold in a few words."""
    return f"{one.operation} ({one.index}): {nanoseconds(one.ns or 0)}, dropped in {one.where or one.task}"


def _row(one: Longest) -> tuple[str, ...]:
    held = f"< {nanoseconds(SHORTEST)}" if one.ns is None else nanoseconds(one.ns)
    engine = ENGINE_TITLES.get(one.index, one.index)
    return (one.operation, engine, one.task, one.where, held, "no" if too_long([one]) else "yes")


def table(release: str, longest: Iterable[Longest]) -> Table:
    """Show the longest hold of each operation, and whether it is within the bound."""
    head = ("operation", "engine", "thread", "dropped in", "held", f"≤ {nanoseconds(BOUND_NS)}")
    rows = tuple(_row(one) for one in longest)
    return Table(
        f"Longest holds of ksm_lock on {release}, 16 GiB registered", head, rows, numeric=4
    )


def write(found: Sequence[Measured], described: Results, directory: Path) -> Path:
    """Write holds.json into a directory, with what it is of, and return its path.

    Raises:
        OSError: It cannot be written to.
    """
    about = {name: getattr(described, name) for name in ("command", "commit", "machine", "when")}
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / JSON_NAME
    data = about | {"bound_ns": BOUND_NS, "kernels": [asdict(one) for one in found]}
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path
