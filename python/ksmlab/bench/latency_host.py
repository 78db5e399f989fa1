"""The host's half of the latencies: boot the kernel that has the tracers, and show what was longest."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ksmlab.bench.batches import Batches
from ksmlab.bench.latency import Longest
from ksmlab.bench.metrics import NOTHING
from ksmlab.bench.plan import HASH, IN_KERNEL
from ksmlab.bench.runner import Wanted, run_in
from ksmlab.bench.tables import ENGINE_TITLES, Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ksmlab.bench.result import Results
    from ksmlab.bench.tracer import Section
    from ksmlab.lab import Lab
    from ksmlab.vm.accel import Accel

KERNEL = "latency-6.12"
ENGINES = (IN_KERNEL, HASH)
#: Merging, merging by pairs, reading samples and whole pages, and stepping over what is not there.
WORKLOADS = ("all_equal", "each_twice", "common_prefix", "sparse")
JSON_NAME = "latency.json"


@dataclass(frozen=True)
class Latencies:
    """What was traced.

    Attributes:
        release: What uname -r says in the VM.
        longest: The longest sections.
        batches: The largest batches of page-table entries that the driver changed at once.
    """

    release: str
    longest: tuple[Longest, ...]
    batches: tuple[Batches, ...] = ()


def wanted(kernels: Sequence[str], workloads: Sequence[str], npages: int) -> Wanted:
    """Say what to trace: with instructions counted, so that a section is as long each time."""
    return Wanted(
        kernels=tuple(kernels),
        engines=ENGINES,
        workloads=tuple(workloads),
        npages=npages,
        runs=1,
        limit=False,
        counted=True,
    )


def measure(lab: Lab, kernel: str, what: Wanted, accel: Accel) -> Latencies:
    """Trace on one kernel, and say what comes as it comes.

    Raises:
        VmError: The VM or the guest's half failed: the kernel may have no such tracer.
    """
    releases: list[str] = []
    found: list[Longest] = []
    batches: list[Batches] = []

    def take(data: dict[str, Any]) -> None:
        kind = data.pop("kind")
        if kind == "guest":
            releases.append(data["release"])
            return
        if kind == "batches":
            batches.append(Batches(**data))
            return
        found.append(Longest.from_data(data))
        lab.progress.say("  ".join(_row(found[-1])))

    run_in(lab, kernel, what, accel, take, module="ksmlab.bench.latency")
    return Latencies("".join(releases), tuple(found), tuple(batches))


def _us(section: Section | None) -> str:
    return NOTHING if section is None else f"{section.us} µs"


def _row(one: Longest) -> tuple[str, ...]:
    engine = ENGINE_TITLES.get(one.engine, one.engine)
    whose = [NOTHING if end is None else str(end) for end in (one.scanner, one.other)]
    return (one.workload, engine, one.tracer, _us(one.scanner), whose[0], _us(one.other), whose[1])


def table(latencies: Latencies) -> Table:
    """Show the scanner's longest section beside the longest of anybody else, for each tracer."""
    head = ("workload", "engine", "off", "scanner", "where", "others", "whose")
    rows = tuple(_row(one) for one in latencies.longest)
    return Table(f"Longest sections on {latencies.release}", head, rows, numeric=len(head))


def batch_table(latencies: Latencies) -> Table:
    """Show the largest batch of page-table entries of each workload in which pages merge."""
    head = ("workload", "batches", "entries empty at once", "longest empty", "largest flush")
    rows = tuple(
        (
            one.workload,
            str(one.batches),
            str(one.entries),
            f"{one.empty_us} µs",
            f"{one.span} pages",
        )
        for one in latencies.batches
    )
    title = f"Batches of page-table entries on {latencies.release}"
    return Table(title, head, rows, numeric=len(head))


def write(found: Sequence[Latencies], described: Results, directory: Path) -> Path:
    """Write latency.json into a directory, with what it is of, and return its path.

    Raises:
        OSError: It cannot be written to.
    """
    about = {name: getattr(described, name) for name in ("command", "commit", "machine", "when")}
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / JSON_NAME
    data = about | {"kernels": [asdict(one) for one in found]}
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path
