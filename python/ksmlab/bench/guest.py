"""The guest's half: measure what a plan says, and print a line of JSON for each thing that is measured.

python -m ksmlab.bench.guest PLAN
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from ksmlab.bench import figures
from ksmlab.bench.engines import CPU, DriverEngine, KernelEngine
from ksmlab.bench.plan import HASH, LIMIT, TREE, Plan
from ksmlab.bench.probe import Probe
from ksmlab.bench.result import Guest, Sample
from ksmlab.bench.workloads import WORKLOADS, Surroundings
from ksmlab.lab_device import PteLab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.bench.engines import Engine
    from ksmlab.bench.workloads import Memory, Workload

#: What a line for the host begins with; the rest of it is JSON.
MARK = "ksmlab-bench "


def say(kind: str, data: dict[str, object]) -> None:
    """Print a line for the host."""
    print(f"{MARK}{json.dumps({'kind': kind, **data})}", flush=True)


class Modules:
    """Our modules, loaded with one index or another.

    Args:
        plan: Where they are.
    """

    def __init__(self, plan: Plan) -> None:
        """Load nothing yet."""
        self._plan = plan
        self._index: str | None = None

    def load(self, index: str) -> None:
        """Have the driver loaded with an index; no area may be open.

        Raises:
            subprocess.CalledProcessError: insmod or rmmod failed; the kernel log says why.
        """
        if self._index == index:
            return
        self.unload()
        parameters = ["sysfs=auto", *([f"index={index}"] if self._plan.has_index else [])]
        subprocess.run(["insmod", self._plan.module, *parameters], check=True)
        subprocess.run(["insmod", self._plan.lab_module], check=True)
        self._index = index

    def load_any(self) -> None:
        """Have the driver loaded, with whichever index."""
        self.load(self._index or (HASH if self._plan.has_index else TREE))

    def unload(self) -> None:
        """Have it not loaded."""
        if self._index is not None:
            subprocess.run(["rmmod", "ksm_lab", "ksm"], check=True)
            self._index = None


class Session:
    """Everything that a plan says, in order.

    Args:
        plan: What to measure.
    """

    def __init__(self, plan: Plan) -> None:
        """Find out what this kernel has."""
        self.plan = plan
        there = (*KernelEngine.available(), *((TREE, HASH) if plan.has_index else (TREE,)))
        self.engines = tuple(engine for engine in plan.engines if engine in there)
        cpus = os.cpu_count() or 1
        self.around = Surroundings(Probe(plan.probe), cpu=min(CPU + 1, cpus - 1))
        self.modules = Modules(plan)

    def guest(self) -> Guest:
        """Say what this VM is."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Guest("", os.uname().release, os.cpu_count() or 1, memory, "", self.engines)

    def rounds(self) -> Iterator[tuple[int, int, str]]:
        """Give factor, run and workload of everything that is to be measured, in order."""
        for run in range(self.plan.runs):
            for name in self.plan.workloads:
                yield 1, run, name
        for factor in self.plan.factors:
            for run in range(self.plan.growth_runs):
                for name in self.plan.workloads:
                    if WORKLOADS[name].grows:
                        yield factor, run, name

    def samples(self) -> Iterator[Sample]:
        """Measure, and give each sample as it is done."""
        for factor, run, name in self.rounds():
            workload = WORKLOADS[name]
            if self.plan.limit:
                yield self._limit(workload, factor, run)
            for engine in self.engines:
                yield self._measure(workload, engine, factor, run)
        self.modules.unload()

    def _blank(
        self, memory: Memory, workload: Workload, engine: str, factor: int, run: int
    ) -> Sample:
        return Sample(
            "",
            run,
            workload.name,
            engine,
            factor,
            memory.npages,
            memory.present,
            memory.possible,
            {},
        )

    def _memory(self, workload: Workload, factor: int) -> Memory:
        # What Python itself has to clean up is cleaned up before, not while something is timed.
        gc.collect()
        return workload.make(self.plan.npages * factor, self.plan.seed)

    def _limit(self, workload: Workload, factor: int, run: int) -> Sample:
        self.modules.load_any()
        with self._memory(workload, factor) as memory, PteLab() as lab:
            blank = self._blank(memory, workload, LIMIT, factor, run)
            nanoseconds = min(figures.hash_plainly(memory, lab) for _ in range(3))
        return replace(blank, figures={"steady_pass_ns": float(nanoseconds)})

    def _engine(self, name: str) -> Engine:
        if name in (TREE, HASH):
            self.modules.load(name)
            return DriverEngine(name)
        return KernelEngine(name)

    def _measure(self, workload: Workload, name: str, factor: int, run: int) -> Sample:
        with self._engine(name) as engine, self._memory(workload, factor) as memory:
            blank = self._blank(memory, workload, name, factor, run)
            with workload.busy(memory, self.around):
                found, reached = figures.measure(engine, memory, self.plan, self.around.probe)
        note = ""
        if memory.possible and reached.cpu_ns is None:
            note = f"saved {reached.saved} of {memory.possible} in {self.plan.patience} passes"
        return replace(blank, figures=found, curve=reached.curve, note=note)


def main() -> None:
    """Do what the first argument says."""
    os.sched_setaffinity(0, {CPU})
    # Who looks is not to wait until the scanner's slice is over; threads that write are not to inherit that.
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    session = Session(Plan.from_json(sys.argv[1]))
    say("guest", asdict(session.guest()))
    for sample in session.samples():
        say("sample", asdict(sample))


if __name__ == "__main__":
    main()
