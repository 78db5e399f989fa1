"""What the host asks the guest to measure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

#: The kernel's own KSM as it comes, and on kernels that have it, without smart scan and advisor.
IN_KERNEL = "in_kernel"
IN_KERNEL_PLAIN = "in_kernel_plain"
#: Our driver, by its index.
TREE = "tree"
HASH = "hash"
ENGINES = (IN_KERNEL, IN_KERNEL_PLAIN, TREE, HASH)
#: What stands in the place of an engine for the plain loop of hashing.
LIMIT = "xxh64"


def judged(engines: Collection[str]) -> str | None:
    """Give the engine that the targets are for: the hash index if it is there, or else the tree."""
    return next((engine for engine in (HASH, TREE) if engine in engines), None)


@dataclass(frozen=True)
class Plan:
    """One session of measuring in one VM.

    Attributes:
        engines: What to measure, in this order, on each workload; one that the kernel lacks is left out.
        workloads: Names of workloads, in this order.
        npages: Pages of each workload at factor 1.
        runs: How often everything is measured at factor 1.
        factors: Multiples of npages that are measured after each of the first growth_runs runs.
        growth_runs: How many.
        hash_seed: The parameter of ksm.ko that hashes and samples follow from; 0 has it draw them at each load.
        passes: Steady passes that are averaged, at the least: engines leave pages out of some.
        steady_ns: CPU time that those passes take together, at the least.
        patience: Passes after which merging has come to its end, whether 99% is reached or not.
        seed: Chooses all contents.
        module: Path of ksm.ko.
        lab_module: Path of ksm_lab.ko.
        has_index: Whether ksm.ko takes the parameter `index`.
        probe: Path of the compiled probe.c.
        limit: Whether the plain loop of hashing is timed, too.
        held_pages: Pages of the dense memory of holds.py; 0 if holds of ksm_lock are not measured.
        held_stride: Pages of address space for each page that the 16 GiB of holds.py contain.
        index_probe: Path of the compiled index_probe.c.
        families: Hash collisions that the workload near_duplicates makes; see aging.py.
        interval: Seconds between two looks, and so how sharply the moment of the goal is known.
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
        """Write it as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what to_json() wrote.

        Raises:
            ValueError: It is something else.
        """
        data: dict[str, Any] = json.loads(text)
        if set(data) != {field.name for field in fields(cls)}:
            raise ValueError(
                f"this is no plan of this version: {text[:80]}. Next: use one checkout"
            )
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**values)
