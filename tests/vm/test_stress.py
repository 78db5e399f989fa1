"""Everything at once, by chance, with the module unloaded as soon as nothing holds it.

Actors (actors.py) use their memory in every way there is and die by kill -9, while khugepaged runs
at full speed, memory is swapped, compacted and moved between nodes, the driver's settings change,
and stress-ng loads the rest of the system. Every actor checks its content all along; the kernel's
log is checked as in every test. What chance may leave out, or the kernel may refuse, is done by two
more processes (labours.py) until it has happened.

--stress-seconds says how long it goes, --stress-seed repeats the chance of an earlier run (not its
timing). The seed is printed with a failure.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numa
import pytest
from actors import FEWEST_STEPS, NPAGES, PATIENCE, Stage, make_disk, play, turn_knobs
from children import child
from labours import KHUGEPAGED, NUMA_BALANCING, Collapser, Worker, toil, vmstat
from modules import REFERENCES
from swap import disk, swap
from written import written

from ksmlab import content, pagemap
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from children import Child
    from modules import Modules

STAGES = 4
#: Different contents among the heir's pages.
KINDS = 50
#: Seconds from one unload of the module to the next.
ROUND_SECONDS = 25.0
#: Seconds for the last steps of a life, or for one compaction of all memory beside ten others who want the CPU. What
#: hangs in the kernel is reported by the kernel, and sooner.
SLOWEST = PATIENCE * max(FEWEST_STEPS)
LOAD = ("--vm", "1", "--vm-bytes", "48M", "--mremap", "1", "--madvise", "1", "--fork", "1")


@pytest.fixture
def busy_kernel() -> Iterator[None]:
    """What moves memory by itself at full speed: khugepaged, and pages that are moved to who uses them."""
    settings = {
        KHUGEPAGED / "scan_sleep_millisecs": "0",
        KHUGEPAGED / "alloc_sleep_millisecs": "0",
        KHUGEPAGED / "pages_to_scan": "4096",
    }
    if NUMA_BALANCING.exists():
        settings[NUMA_BALANCING] = "1"
    with written(settings):
        yield


@contextlib.contextmanager
def load_beside(tmp_path: Path) -> Iterator[None]:
    """Have stress-ng work on memory in the block, as politely as it can.

    Raises:
        AssertionError: it is not there, or found something wrong.
    """
    program = shutil.which("stress-ng")
    assert program, "stress-ng is not here; `make doctor` says how to install it"
    argv = ["nice", "-n", "19", program, *LOAD, "--temp-path", str(tmp_path), "--timeout", "0"]
    log = tmp_path / "stress-ng.log"
    with log.open("w") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
        assert process.poll() is None, f"stress-ng ended by itself: {log.read_text()}"
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert "fail:" not in log.read_text(), log.read_text()


class Heir:
    """Memory that is registered, merged and unmerged all through a round, and outlives it."""

    def __init__(self) -> None:
        self.arena = Arena(NPAGES, huge=False)
        self.arena.fill(content.cycle(NPAGES, KINDS))
        self.device = KsmDevice()
        self.area = self.device.create_area()
        self.area.register(self.arena)

    def merged(self, pid: int | None = None) -> bool:
        """Return whether all pages of a process are merged, with a few kernel pages for each kind."""
        # What is in swap cannot merge.
        assert self.arena.verify() == []
        entries = pagemap.entries(pid, self.arena.address, NPAGES)
        return (
            all(entry.present and entry.file for entry in entries)
            and len({entry.pfn for entry in entries}) < NPAGES // 4
        )

    def live_on(self, connection: Connection) -> None:
        """Close the driver's descriptors in a forked child, but keep the pages mapped."""
        self.let_go()
        connection.send("let go")
        connection.recv()
        connection.send(self.arena.verify())
        connection.recv()

    def let_go(self) -> None:
        """Close the descriptors, which hold the module."""
        self.area.close()
        self.device.close()

    def close(self) -> None:
        self.let_go()
        self.arena.close()


def load(modules: Modules) -> KsmSysfs:
    modules.load_usual("ksm")
    ksm = KsmSysfs.find()
    hurry(ksm)
    return ksm


def hurry(ksm: KsmSysfs) -> None:
    ksm.pages_to_scan, ksm.sleep, ksm.max_kernel_pages = 2000, 1000, 0
    ksm.max_page_sharing, ksm.run = 256, 1


def unload_under(heir: Heir, modules: Modules, ksm: KsmSysfs) -> None:
    """Unload the module while a child of the heir's maps its kernel pages, and nothing else holds it."""
    hurry(ksm)
    ksm.wait_until(lambda _: heir.merged(), PATIENCE, "all of the heir's pages to be merged")
    with child(heir.live_on) as process:
        process.receive(PATIENCE)
        heir.let_go()
        assert heir.arena.verify() == []
        assert heir.merged(process.pid)
        # A forked child of a killed actor may still run.
        holders = REFERENCES.with_name("holders")
        ksm.wait_until(
            lambda _: int(REFERENCES.read_text()) == len(list(holders.iterdir())),
            PATIENCE,
            "the children of killed actors to end",
        )
        modules.unload_all()
        assert heir.merged(process.pid)
        assert process.ask(deadline=PATIENCE) == []


def one_round(modules: Modules, seed: str, seconds: float, image: Path) -> Counter[str]:
    """Load the module, use it, and unload it with pages of it still mapped; return what was done how often."""
    ksm = load(modules)
    with contextlib.closing(Heir()) as heir:
        with contextlib.ExitStack() as stack:

            def start(body: Callable[[Connection], None]) -> Child:
                def run(to: Connection) -> None:
                    # The copies that a fork makes of the heir's descriptors hold the module, too.
                    heir.let_go()
                    body(to)

                return stack.enter_context(child(run))

            nodes = numa.nodes()
            stages = [Stage(number, seed, image, nodes) for number in range(STAGES + 2)]
            knobs = start(lambda to: turn_knobs(to, seed))
            played = [start(partial(play, stage, seconds=seconds)) for stage in stages[:STAGES]]
            labourers: list[type[Worker | Collapser]] = [Worker, Collapser]
            toiling = [
                start(partial(toil, who, stage))
                for who, stage in zip(labourers, stages[STAGES:], strict=True)
            ]
            said = [process.receive(seconds + SLOWEST) for process in played]
            # These go on until each thing has happened; meanwhile the settings change all the time.
            said += [process.ask("end", SLOWEST) for process in toiling]
            said.append(knobs.ask("end", SLOWEST))
            wrong = [words for words in said if isinstance(words, str)]
            assert not wrong, "\n".join(wrong)
        unload_under(heir, modules, ksm)
    return sum(map(Counter, said), Counter())


def must_have_grown(nodes: list[int]) -> set[str]:
    """Give the figures of /proc/vmstat that show what the kernel has had to do beside the driver."""
    names = {
        "pswpout", "pswpin", "pgmigrate_success", "compact_migrate_scanned", "thp_collapse_alloc",
    }  # fmt: skip
    return names | ({"numa_pte_updates"} if len(nodes) > 1 and NUMA_BALANCING.exists() else set())


@pytest.mark.stress
@pytest.mark.usefixtures("busy_kernel")
def test_everything_by_chance(
    modules: Modules, tmp_path: Path, pytestconfig: pytest.Config, stress_seconds: float
) -> None:
    seed: str = pytestconfig.getoption("--stress-seed") or str(random.randrange(1 << 32))
    nodes = numa.nodes()
    print(f"seed {seed}, {stress_seconds:.0f} s, NUMA nodes {nodes}, {os.cpu_count()} CPUs")
    if "numa=fake=2" in Path("/proc/cmdline").read_text().split():
        assert nodes == [0, 1]
    image = tmp_path / "disk"
    make_disk(image, STAGES + 2)
    rounds = 0
    done: Counter[str] = Counter()
    before = vmstat()
    with modules.without(), swap(tmp_path), disk(image) as device, load_beside(tmp_path):
        # What came before takes as long as it takes; one round there is in any case.
        end = time.monotonic() + stress_seconds
        while (left := end - time.monotonic()) > 0:
            done += one_round(modules, f"{seed} {rounds}", min(left, ROUND_SECONDS), device)
            rounds += 1
            print(f"round {rounds}, so far: {dict(done)}", flush=True)
    now = vmstat()
    grown = {name: now[name] - before[name] for name in sorted(must_have_grown(nodes))}
    print(f"counted by the kernel meanwhile: {grown}")
    assert all(grown.values()), grown
    # Each in each round, at the least; and a page that has merged and was written is among them.
    wanted = {"merge", "swap", "direct", "compact", "collapse", "lives", "steps", "turns"}
    assert all(done[name] >= rounds for name in wanted), (rounds, done)
