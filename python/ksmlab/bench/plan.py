"""The plan that the host sends to the guest: what to measure, and how."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

#: In-kernel KSM with its default settings, and, on kernels with smart scan, without smart scan and advisor.
IN_KERNEL = "in_kernel"
IN_KERNEL_PLAIN = "in_kernel_plain"
#: This driver, with each of its indexes.
TREE = "tree"
HASH = "hash"
ENGINES = (IN_KERNEL, IN_KERNEL_PLAIN, TREE, HASH)
#: The name that is used instead of an engine's for a plain loop that hashes all pages.
LIMIT = "xxh64"


def judged(engines: Collection[str]) -> str | None:
    """Return the engine to which the targets apply: the hash index if it was measured, otherwise the tree."""
    return next((engine for engine in (HASH, TREE) if engine in engines), None)


@dataclass(frozen=True)
class Plan:
    """The measurements in one VM.

    Attributes:
        engines: The engines to measure on each workload, in this order. An engine that the kernel lacks is skipped.
        workloads: The names of the workloads, in this order.
        npages: The number of pages of each workload at factor 1.
        runs: The number of runs at factor 1.
        factors: The multiples of npages to measure after each of the first growth_runs runs.
        growth_runs: The number of runs that measure these factors.
        hash_seed: The parameter of ksm.ko that determines hashes and samples; with 0, the driver chooses them at random
            each time it is loaded.
        passes: The least number of steady passes to average, since engines skip some pages in some passes.
        steady_ns: The least CPU time of the steady passes together, in nanoseconds.
        patience: The number of passes after which merging ends even if 99% of the pages are not merged.
        seed: The seed of all contents.
        module: The path of ksm.ko.
        lab_module: The path of ksm_lab.ko.
        has_index: Whether ksm.ko has the parameter `index`.
        probe: The path of the compiled probe.c.
        limit: Whether to time the plain loop of hashing as well.
        held_pages: The number of pages of the dense memory in holds.py; 0 not to measure holds of ksm_lock.
        held_stride: The pages of address space for each present page of the 16 GiB in holds.py.
        index_probe: The path of the compiled index_probe.c.
        families: The number of hash collisions in the workload near_duplicates; see aging.py.
        interval: The seconds between two readings of the counters, which limit the resolution of the figures.
    """

    engines: tuple[str, ...]
    workloads: tuple[str, ...]
    npages: int
    runs: int
    module: str
    lab_module: str
    probe: str
    has_index: bool = False
    factors: tuple[int, ...] = ()
    growth_runs: int = 1
    hash_seed: int = 0
    passes: int = 10
    steady_ns: int = 300_000_000
    patience: int = 20
    seed: int = 20090409
    limit: bool = True
    held_pages: int = 0
    held_stride: int = 512
    index_probe: str = ""
    families: int = 200_000
    interval: float = 0.003

    def to_json(self) -> str:
        """Return the plan as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan that to_json() has written.

        Raises:
            ValueError: The text is not a plan of this version.
        """
        data: dict[str, Any] = json.loads(text)
        if set(data) != {field.name for field in fields(cls)}:
            raise ValueError(
                f"this is not a benchmark plan of this version: {text[:80]}. "
                "Next: use the same checkout on the host and in the guest"
            )
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**values)
