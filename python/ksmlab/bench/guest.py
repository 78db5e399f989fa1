"""Make the measurements of a plan in the guest, and print each result as a line of JSON.

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

from ksmlab.bench import aging, figures
from ksmlab.bench.engines import CPU, DriverEngine, KernelEngine
from ksmlab.bench.plan import HASH, IN_KERNEL, LIMIT, TREE, Plan, judged
from ksmlab.bench.probe import Probe
from ksmlab.bench.result import Guest, Sample
from ksmlab.bench.workloads import WORKLOADS, Surroundings
from ksmlab.lab_device import PteLab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.bench.engines import Engine
    from ksmlab.bench.workloads import Memory, Workload

#: The prefix of a line for the host; the rest of the line is JSON.
MARK = "ksmlab-bench "
#: The workloads on which an engine warms up. They merge pages with an existing kernel page, and pages with each other.
WARMING = ("all_equal", "each_twice")
WARMING_PAGES = 512
#: The metrics that are compared with the plain loop of hashing.
PASSES = ("steady_pass_ns", "full_pass_ns")


def say(kind: str, data: dict[str, object]) -> None:
    """Print a line for the host."""
    print(f"{MARK}{json.dumps({'kind': kind, **data})}", flush=True)


class Modules:
    """Loads and unloads the modules of this repository.

    Args:
        plan: The plan with the paths of the modules.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._index: str | None = None

    def load(self, index: str) -> None:
        """Reload the driver with an index. No area may be open.

        The driver is reloaded for each measurement, so that its random choices and its statistics about contents do not
        influence the next measurement.

        Raises:
            subprocess.CalledProcessError: insmod or rmmod failed; the kernel log says why.
        """
        self.unload()
        parameters = ["sysfs=auto", f"hash_seed={self._plan.hash_seed}"]
        parameters += [f"index={index}"] if self._plan.has_index else []
        subprocess.run(["insmod", self._plan.module, *parameters], check=True)
        subprocess.run(["insmod", self._plan.lab_module], check=True)
        self._index = index

    def load_any(self) -> None:
        """Load the driver with any index, unless it is loaded."""
        if self._index is None:
            self.load(HASH if self._plan.has_index else TREE)

    def unload(self) -> None:
        """Unload the modules, if they are loaded."""
        if self._index is not None:
            subprocess.run(["rmmod", "ksm_lab", "ksm"], check=True)
            self._index = None


class Session:
    """Makes all measurements of a plan, in order.

    Args:
        plan: The plan.
    """

    def __init__(self, plan: Plan) -> None:
        """Determine which of the plan's engines this kernel has."""
        self.plan = plan
        there = (*KernelEngine.available(), *((TREE, HASH) if plan.has_index else (TREE,)))
        self.engines = tuple(engine for engine in plan.engines if engine in there)
        cpus = os.cpu_count() or 1
        self.around = Surroundings(Probe(plan.probe), cpu=min(CPU + 1, cpus - 1))
        self.modules = Modules(plan)

    def guest(self) -> Guest:
        """Return the description of this VM. The host adds the name of the kernel and the kind of CPU."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Guest("", os.uname().release, os.cpu_count() or 1, memory, "", self.engines)

    def rounds(self) -> Iterator[tuple[int, int, str]]:
        """Yield the factor, run and workload of each measurement, in order."""
        for run in range(self.plan.runs):
            for factor in (1, *self.plan.factors):
                if factor > 1 and run >= self.plan.growth_runs:
                    continue
                for name in self.plan.workloads:
                    if factor == 1 or WORKLOADS[name].grows:
                        yield factor, run, name

    def engines_in(self, factor: int, run: int) -> tuple[str, ...]:
        """Return the engines of a round. Later runs with more memory measure only the engines that have targets."""
        if factor == 1 or run == 0:
            return self.engines
        return tuple(name for name in self.engines if name in (IN_KERNEL, judged(self.engines)))

    def samples(self) -> Iterator[Sample]:
        """Make all measurements, and yield each sample when it is complete."""
        for factor, run, name in self.rounds():
            workload = WORKLOADS[name]
            if self.plan.limit and factor == 1:
                yield self._limit(workload, factor, run)
            for engine in self.engines_in(factor, run):
                if engine == HASH or not workload.ages:
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

    def memory(self, workload: Workload, factor: int) -> Memory:
        """Map and fill the memory of a workload."""
        # Run Python's garbage collector now, so that it does not run during a measurement.
        gc.collect()
        return workload.make(self.plan.npages * factor, self.plan.seed)

    def _limit(self, workload: Workload, factor: int, run: int) -> Sample:
        self.modules.load_any()
        with self.memory(workload, factor) as memory, PteLab() as lab:
            blank = self._blank(memory, workload, LIMIT, factor, run)
            nanoseconds = min(figures.hash_plainly(memory, lab) for _ in range(3))
        return replace(blank, figures=dict.fromkeys(PASSES, float(nanoseconds)))

    def engine(self, name: str) -> Engine:
        """Return an engine that has warmed up; load the driver first if it is the engine."""
        if name in (TREE, HASH):
            self.modules.load(name)
            engine: Engine = DriverEngine(name)
        else:
            engine = KernelEngine(name)
        self._warm_up(engine)
        return engine

    def _warm_up(self, engine: Engine) -> None:
        """Merge a few pages before an engine is measured.

        QEMU translates code when it is first executed, and the module is new code each time it is loaded. The pages
        either are equal or differ in all cache lines, so they do not change the driver's statistics about samples.
        """
        for name in WARMING:
            with WORKLOADS[name].make(WARMING_PAGES, self.plan.seed + 1) as memory:
                engine.add(memory)
                figures.merge(engine, memory.possible, self.plan)
                engine.drop(memory)

    def _measure(self, workload: Workload, name: str, factor: int, run: int) -> Sample:
        with self.engine(name) as engine, self.memory(workload, factor) as memory:
            blank = self._blank(memory, workload, name, factor, run)
            settings = engine.settings()
            if workload.ages:
                found = aging.measure(engine, memory, self.plan)
                return replace(blank, figures=found, settings=settings)
            with workload.busy(memory, self.around):
                found, reached = figures.measure(engine, memory, self.plan, self.around.probe)
        note = ""
        if memory.possible and reached.cpu_ns is None:
            note = f"saved {reached.saved} of {memory.possible} in {self.plan.patience} passes"
        return replace(blank, figures=found, curve=reached.curve, note=note, settings=settings)


def take_the_cpu() -> None:
    """Bind this process to the scanner's CPU, with a real-time priority.

    With this priority, it does not have to wait for the end of the scanner's time slice. Its threads and child
    processes do not inherit the priority.
    """
    os.sched_setaffinity(0, {CPU})
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def main() -> None:
    """Make the measurements of the plan in the first argument, and print the results."""
    take_the_cpu()
    session = Session(Plan.from_json(sys.argv[1]))
    say("guest", asdict(session.guest()))
    for sample in session.samples():
        say("sample", asdict(sample))


if __name__ == "__main__":
    main()
