"""Everything at once, by chance, with the module unloaded as soon as nothing holds it.

Actors (actors.py) use their memory in every way there is and die by kill -9, while khugepaged runs
at full speed, memory is swapped, compacted and moved between nodes, the driver's settings change,
and stress-ng loads the rest of the system. Every actor checks its content all along; the kernel's
log is checked as in every test.

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
from pathlib import Path
from typing import TYPE_CHECKING

import numa
import pytest
from actors import FEWEST_STEPS, NPAGES, PATIENCE, Stage, make_disk, play, turn_knobs
from children import child
from swap import disk, swap

from ksmlab import content
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from children import Child
    from modules import Modules

STAGES = 4
#: Seconds from one unload of the module to the next.
ROUND_SECONDS = 25.0
#: Seconds for the last steps of a life, or for one compaction of all memory beside ten others who want the CPU. What
#: hangs in the kernel is reported by the kernel, and sooner.
SLOWEST = PATIENCE * max(FEWEST_STEPS)
KHUGEPAGED = Path("/sys/kernel/mm/transparent_hugepage/khugepaged")
LOAD = ("--vm", "1", "--vm-bytes", "48M", "--mremap", "1", "--madvise", "1", "--fork", "1")


@pytest.fixture
def khugepaged_at_full_speed() -> Iterator[None]:
    settings = {"scan_sleep_millisecs": "0", "alloc_sleep_millisecs": "0", "pages_to_scan": "4096"}
    old = {name: (KHUGEPAGED / name).read_text() for name in settings}
    for name, value in settings.items():
        (KHUGEPAGED / name).write_text(value)
    yield
    for name, value in old.items():
        (KHUGEPAGED / name).write_text(value)


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
        self.arena.fill(content.cycle(NPAGES, 50))
        self.device = KsmDevice()
        self.area = self.device.create_area()
        self.area.register(self.arena)

    def live_on(self, connection: Connection) -> None:
        """In a forked child: let go of the driver, but not of the pages."""
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


def one_round(modules: Modules, seed: str, seconds: float, image: Path) -> tuple[int, int, int]:
    """Load the module, use it, and unload it with pages of it still mapped.

    Returns:
        How many actors have lived, how many steps they have made, and how often the settings changed.
    """
    modules.load_usual("ksm")
    ksm = KsmSysfs.find()
    ksm.pages_to_scan, ksm.sleep, ksm.max_kernel_pages, ksm.run = 2000, 1000, 0, 1
    with contextlib.closing(Heir()) as heir:
        with contextlib.ExitStack() as stack:

            def start(body: Callable[[Connection], None]) -> Child:
                # The copies that a fork makes of the heir's descriptors hold the module, too.
                return stack.enter_context(child(lambda to: (heir.let_go(), body(to))))

            knobs = start(lambda to: turn_knobs(to, seed))
            nodes = numa.nodes()
            stages = [Stage(number, seed, image, nodes) for number in range(STAGES)]
            played = [start(lambda to, on=stage: play(on, to, seconds)) for stage in stages]
            said = [process.receive(seconds + SLOWEST) for process in played]
            wrong = [words for words in said if isinstance(words, str)]
            assert not wrong, "\n".join(wrong)
            turns = knobs.ask("end", SLOWEST)
            assert isinstance(turns, int), turns

        with child(heir.live_on) as process:
            process.receive(PATIENCE)
            heir.let_go()
            assert heir.arena.verify() == []
            modules.unload_all()
            assert process.ask(deadline=PATIENCE) == []
    return sum(lives for lives, _ in said), sum(steps for _, steps in said), turns


@pytest.mark.stress
@pytest.mark.usefixtures("khugepaged_at_full_speed")
def test_everything_by_chance(
    modules: Modules, tmp_path: Path, pytestconfig: pytest.Config, stress_seconds: float
) -> None:
    seed: str = pytestconfig.getoption("--stress-seed") or str(random.randrange(1 << 32))
    print(f"seed {seed}, {stress_seconds:.0f} s, NUMA nodes {numa.nodes()}, {os.cpu_count()} CPUs")
    image = tmp_path / "disk"
    make_disk(image, STAGES)
    end = time.monotonic() + stress_seconds
    rounds = lives = steps = turns = 0
    with modules.without(), swap(tmp_path), disk(image) as device, load_beside(tmp_path):
        while (left := end - time.monotonic()) > 0:
            result = one_round(modules, f"{seed} {rounds}", min(left, ROUND_SECONDS), device)
            rounds += 1
            lives, steps, turns = lives + result[0], steps + result[1], turns + result[2]
            print(f"round {rounds}: {lives} lives, {steps} steps, {turns} turns so far", flush=True)
    assert lives >= STAGES * rounds
    assert steps >= STAGES * rounds * max(FEWEST_STEPS)
