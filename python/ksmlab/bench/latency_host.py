"""Measure latencies in a VM whose kernel has the tracers, and show the longest ones."""

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
#: Workloads for merging many equal pages, merging pairs, reading complete pages, and skipping absent pages.
WORKLOADS = ("all_equal", "each_twice", "common_prefix", "sparse")
JSON_NAME = "latency.json"


@dataclass(frozen=True)
class Latencies:
    """The results on one kernel.

    Attributes:
        release: The release of the kernel, as printed by uname -r.
        longest: The longest sections.
        batches: The largest batches of page-table entries that the driver changed at once.
    """

    release: str
    longest: tuple[Longest, ...]
    batches: tuple[Batches, ...] = ()


def wanted(kernels: Sequence[str], workloads: Sequence[str], npages: int) -> Wanted:
    """Return the measurements. The VM counts instructions, so that the results can be reproduced."""
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
    """Trace on one kernel, and show each result when it is available.

    Raises:
        VmError: The VM or the program in the guest failed, for example because the kernel lacks the tracers.
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
    """Return a table with the longest section of the scanner and of all other tasks, for each tracer."""
    head = ("workload", "engine", "off", "scanner", "where", "others", "whose")
    rows = tuple(_row(one) for one in latencies.longest)
    return Table(f"Longest sections on {latencies.release}", head, rows, numeric=len(head))


def batch_table(latencies: Latencies) -> Table:
    """Return a table with the largest batches of page-table entries, for each workload in which pages merge."""
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
    """Write latency.json to a directory, and return its path.

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
    data = about | {"kernels": [asdict(one) for one in found]}
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path
