"""Measure, in the guest, the longest time for which ksm_lock is held, for each operation, with 16 GiB registered.

All processes that use the driver share ksm_lock, so the longest hold is the longest time that any of them waits for it.
The VM counts instructions, at 2 ns each, so the results can be reproduced.

The VM does not have 16 GiB of memory. The duration of a hold can depend on three numbers, so three measurements
together show the longest holds with 16 GiB:

- The number of chunks (one for each page table). 16 GiB are registered, and a few pages of each page table are present,
  so the driver allocates all chunks of 16 GiB.
- The number of pages in a chunk. All pages of a second region are present.
- The number of entries of the index. index_probe.c inserts the 4 million entries of 16 GiB into the hash index,
  compiled for userspace. The tree is measured only with the present pages. Those of the second region have a long
  common prefix, so comparisons under ksm_lock take as long as possible.

python -m ksmlab.bench.holds PLAN
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from ksmlab import abi, content, libc
from ksmlab.bench import aging, figures
from ksmlab.bench.engines import DriverEngine
from ksmlab.bench.guest import Session, say, take_the_cpu
from ksmlab.bench.lock_tracer import LockTracer
from ksmlab.bench.plan import HASH, TREE, Plan
from ksmlab.bench.workloads import Memory
from ksmlab.content import LAST_WORD, Content
from ksmlab.device import KsmDevice
from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ksmlab.bench.probe import Probe
    from ksmlab.device import Area

#: The number of pages of 16 GiB.
WIDE_PAGES = (16 << 30) // PAGE_SIZE
#: The number of regions in the measurement of many regions.
REGIONS = 100_000
#: The passes after which all pages have been inserted into the index: the current one, and two complete ones.
PASSES = 3
#: The number of measured passes in which nothing changes.
IDLE_PASSES = 2
#: The number of hash collisions.
COLLISIONS = 4 * aging.WAVE
#: The number of passes after which merging is given up. A pass ends early if the mmap lock is contended.
PATIENCE = 10_000
#: The seconds between two readings of the scanner's counters.
INTERVAL = 0.02
#: The same, for passes over little memory.
SHORT_INTERVAL = 0.002
#: The part of a pass after which a process exits. The other process is scanned in the second half.
LATE = 0.75
#: The seconds, of the VM's clock, within which the driver must free the metadata of a process that has ended.
REAP_SECONDS = 60.0


class HoldError(RuntimeError):
    """An operation could not be measured, because the driver did not complete it; the text says what to do next."""


@dataclass(frozen=True)
class Longest:
    """The longest hold of one operation.

    Attributes:
        index: The driver's index.
        operation: The operation, as text.
        ns: The duration in nanoseconds; None if all holds were shorter than lock_tracer.SHORTEST.
        task: The name of the thread that held the lock.
        where: The function that dropped the lock.
    """

    index: str
    operation: str
    ns: int | None
    task: str = ""
    where: str = ""


class Memories(contextlib.ExitStack):
    """Two kinds of memory: 16 GiB in which few pages are present, and a smaller region in which all are.

    All pages differ; those of the dense memory differ only in their last word.

    Args:
        plan: The plan with the numbers of pages.
    """

    def __init__(self, plan: Plan) -> None:
        """Map and fill the memory."""
        super().__init__()
        self.dense = self.enter_context(Memory(plan.held_pages))
        self.dense.fill(Content(plan.seed, LAST_WORD), content.unique(self.dense.npages))
        self.wide = self.enter_context(Memory(WIDE_PAGES, plan.held_stride))
        self.wide.fill(Content(plan.seed + 1), content.unique(self.wide.present))

    def register(self, area: Area) -> None:
        """Register both kinds of memory in an area."""
        area.register(self.wide)
        area.register(self.dense)

    def make_twice(self) -> int:
        """Make the second half of each memory equal to the first; return the number of pages that can be saved."""
        for memory in (self.dense, self.wide):
            half = memory.npages // 2
            for page in range(0, half, memory.stride):
                memory.view(half + page, 1)[:] = memory.view(page, 1)
        return (self.dense.present + self.wide.present) // 2


class Holds:
    """Measures all operations with one index.

    Args:
        engine: The driver, loaded with the index.
        tracer: Records the holds.
        plan: The plan with the numbers of pages.
    """

    def __init__(self, engine: DriverEngine, tracer: LockTracer, plan: Plan) -> None:
        self._engine = engine
        self._tracer = tracer
        self._plan = replace(plan, interval=INTERVAL, patience=PATIENCE)

    def _longest(self, operation: str, action: Callable[[], object]) -> Longest:
        hold = self._tracer.during(action)
        if hold is None:
            return Longest(self._engine.name, operation, None)
        return Longest(self._engine.name, operation, hold.ns, hold.task, hold.where)

    def _passes(self, count: int) -> None:
        """Run the engine for `count` passes, and stop it."""
        self._engine.run()
        end = self._engine.look().scans + count
        figures.watch(self._engine, lambda look: look.scans >= end, INTERVAL)
        self._engine.stop()

    def _merge(self, possible: int) -> None:
        """Run the engine until it has merged all pages, and stop it."""
        reached = figures.merge(self._engine, possible, self._plan)
        self._engine.stop()
        if reached.cpu_ns is None:
            skipped = {name: count for name, count in self._engine.sysfs.skipped().items() if count}
            raise HoldError(
                f"index={self._engine.name} merged {reached.saved} of {possible} pages in {self._plan.patience} "
                f"passes, so its holds cannot be measured. No result was stored. Next: see why it skipped {skipped}"
            )

    def _reaped(self, before: int) -> None:
        """Wait until the metadata of a process that has ended is freed."""
        end = time.monotonic() + REAP_SECONDS
        while (left := self._engine.metadata_bytes() or 0) > before:
            if time.monotonic() > end:
                raise HoldError(
                    f"index={self._engine.name}: {left - before} bytes of metadata of an ended process are left after "
                    f"{REAP_SECONDS:.0f} s. No result was stored. Next: see the kernel log"
                )
            time.sleep(INTERVAL)

    def living(self) -> Iterator[Longest]:
        """Measure the operations of a running process."""
        with Memories(self._plan) as memory, KsmDevice() as device, device.create_area() as area:
            yield self._longest("register 16 GiB", lambda: memory.register(area))
            yield self._longest("insert", lambda: self._passes(PASSES))
            yield self._longest(
                "passes in which nothing changes", lambda: self._passes(IDLE_PASSES)
            )
            possible = memory.make_twice()
            yield self._longest("merge", lambda: self._merge(possible))
            yield self._longest("run=2", self._engine.unmerge_all)
            self._merge(possible)
            yield self._longest("REMOVE", area.remove)

    def exiting(self) -> Iterator[Longest]:
        """Measure the exit of a process whose pages are merged."""
        before = self._engine.metadata_bytes() or 0

        def prepare() -> int:
            memory = Memories(self._plan)
            possible = memory.make_twice()
            memory.register(KsmDevice().create_area())
            return possible

        with Child(prepare) as child:
            self._merge(child.result)

            def end() -> None:
                child.close()
                self._reaped(before)

            yield self._longest("exit", end)

    def exiting_in_a_pass(self) -> Iterator[Longest]:
        """Measure the exit of a process in the middle of a pass, while the pages of another process are scanned.

        Half of the pages of the process that exits are merged. The other half, like the pages of the other process, are
        in the index.
        """
        before = self._engine.metadata_bytes() or 0
        pages = self._plan.held_pages

        def prepare() -> int:
            memory = Memory(pages)
            memory.fill(Content(self._plan.seed, LAST_WORD), content.unique(pages))
            memory.view(pages // 2, pages // 4)[:] = memory.view(0, pages // 4)
            KsmDevice().create_area().register(memory)
            return pages // 4

        with contextlib.ExitStack() as stack:
            # The process that exits registers first, so each pass scans the other one last.
            child = stack.enter_context(Child(prepare))
            self._merge(child.result)
            memory = stack.enter_context(Memory(pages))
            memory.fill(Content(self._plan.seed, LAST_WORD), content.unique(pages, 2 * pages))
            area = stack.enter_context(stack.enter_context(KsmDevice()).create_area())
            area.register(memory)
            self._passes(PASSES)

            def end() -> None:
                self._engine.run()
                start, stop = (self._pass_end() for _ in range(2))
                self._engine.wait(LATE * (stop - start))
                child.close()
                self._pass_end()
                self._engine.stop()

            yield self._longest("exit in a pass", end)
        self._reaped(before)

    def _pass_end(self) -> float:
        """Wait for the end of the current pass; return the time, in seconds."""
        scans = self._engine.look().scans
        looks = figures.watch(self._engine, lambda look: look.scans > scans, SHORT_INTERVAL)
        return looks[-1].ns / 1e9

    def collisions(self) -> Iterator[Longest]:
        """Measure pages whose samples collide. Only the hash index uses samples."""
        plan = replace(self._plan, families=COLLISIONS)

        def collide() -> None:
            self._engine.run()
            aging.collide(self._engine, plan)
            self._engine.stop()

        yield self._longest(f"{COLLISIONS:,} collisions", collide)

    def many_regions(self, probe: Probe) -> Iterator[Longest]:
        """Measure 100,000 regions of one page each. The result does not depend on the index.

        Args:
            probe: Registers the regions.
        """
        before = self._engine.metadata_bytes() or 0
        with contextlib.ExitStack() as stack:

            def start() -> None:
                stack.enter_context(Child(lambda: register_many(probe)))

            def end() -> None:
                stack.close()
                self._reaped(before)

            yield self._longest(f"register {REGIONS:,} regions", start)
            yield self._longest(f"passes over {REGIONS:,} regions", lambda: self._passes(PASSES))
            yield self._longest(f"exit with {REGIONS:,} regions", end)


def register_many(probe: Probe) -> int:
    """Register REGIONS regions of one page each, in as many areas as necessary."""
    address = libc.map_anonymous(2 * REGIONS * PAGE_SIZE, noreserve=True)
    device = KsmDevice()
    areas = [
        fcntl.ioctl(device.fileno(), abi.KSM_CREATE_SHARED_MEMORY_AREA)
        for _ in range(0, REGIONS, abi.MAX_REGIONS_PER_AREA)
    ]
    probe.register_many(areas, address, REGIONS)
    return REGIONS


class Child:
    """A child process that calls a function, and then waits until it is closed.

    Args:
        prepare: The function to call in the child.

    Attributes:
        result: The return value of that call.

    Raises:
        HoldError: The call failed; the child has printed why.
    """

    def __init__(self, prepare: Callable[[], int]) -> None:
        """Start the child, and wait until the function has returned."""
        reader, writer = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            _child(prepare, writer)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        if not text:
            os.waitpid(self._pid, 0)
            raise HoldError(
                "the process to be measured has failed. Its message is above. No result was stored"
            )
        self.result = int(text)

    def __enter__(self) -> Child:
        """Return the child."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the child."""
        self.close()

    def close(self) -> None:
        """End the child, and wait for its end; a second call does nothing."""
        pid, self._pid = self._pid, 0
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _child(prepare: Callable[[], int], writer: int) -> None:
    """Run in the child: call a function, report its result, and sleep until a signal ends the process."""
    try:
        result = prepare()
        os.write(writer, str(result).encode())
        os.close(writer)
        while True:
            signal.pause()
    finally:
        os._exit(1)


def probe_index(plan: Plan) -> Iterator[Longest]:
    """Measure operations of the hash index in userspace, with an entry for each page of 16 GiB."""
    argv = [plan.index_probe, str(WIDE_PAGES)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        operation, ns = line.split()
        yield Longest(
            HASH, f"{operation} the index, {WIDE_PAGES:,} entries", int(ns), "index_probe"
        )


def measure(session: Session) -> Iterator[Longest]:
    """Measure each index of the plan."""
    for name in session.engines:
        if name not in (TREE, HASH):
            continue
        session.modules.load(name)
        with DriverEngine(name) as engine, LockTracer() as tracer:
            holds = Holds(engine, tracer, session.plan)
            yield from holds.living()
            yield from holds.exiting()
            yield from holds.exiting_in_a_pass()
            if name == HASH:
                yield from holds.collisions()
            if name == session.engines[-1]:
                yield from holds.many_regions(session.around.probe)
    session.modules.unload()
    if HASH in session.engines:
        yield from probe_index(session.plan)


def main() -> None:
    """Measure the plan in the first argument, and print the results."""
    take_the_cpu()
    session = Session(Plan.from_json(sys.argv[1]))
    say("guest", asdict(session.guest()))
    for one in measure(session):
        say("hold", asdict(one))


if __name__ == "__main__":
    main()
