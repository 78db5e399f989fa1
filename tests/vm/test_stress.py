"""Everything at once, by chance: processes that write, drop, protect, collapse, fork and die.

Each checks its content against what it wrote, all along. The kernel's log is checked as in every
test. The seed is printed with a failure.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from children import child
from swap import swap

from ksmlab import content
from ksmlab.device import KsmDevice
from ksmlab.memory import MADV_COLLAPSE, MADV_PAGEOUT, Arena

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from ksmlab.sysfs import KsmSysfs

SECONDS = 20.0
PROCESSES = 4
#: Two huge pages and a half.
NPAGES = 1280
ALL = mmap.PROT_READ | mmap.PROT_WRITE
KHUGEPAGED = Path("/sys/kernel/mm/transparent_hugepage/khugepaged")


@pytest.fixture
def khugepaged_at_full_speed() -> Iterator[None]:
    settings = {"scan_sleep_millisecs": "0", "alloc_sleep_millisecs": "0", "pages_to_scan": "4096"}
    old = {name: (KHUGEPAGED / name).read_text() for name in settings}
    for name, value in settings.items():
        (KHUGEPAGED / name).write_text(value)
    yield
    for name, value in old.items():
        (KHUGEPAGED / name).write_text(value)


class Actor:
    """One process: an arena in a region, and things to do to it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.arena = Arena(NPAGES, huge=True)
        self.arena.fill(content.cycle(NPAGES, 50))
        self.device = KsmDevice()
        self.area = self.device.create_area()
        self.area.register(self.arena)

    def span(self) -> tuple[int, int]:
        """Choose some pages: a first one and a count."""
        first = self.random.randrange(NPAGES)
        return first, self.random.randint(1, NPAGES - first)

    def step(self) -> None:
        """Do one thing, and check what should be there."""
        first, count = self.span()
        match self.random.randrange(9):
            case 0 | 1:
                keys = content.cycle(count, self.random.choice([1, 50, count]))
                self.arena.fill(keys, first)
            case 2:
                self.arena.write(first, self.random.randbytes(8), 8 * self.random.randrange(500))
            case 3:
                self.arena.discard(first, count)
            case 4:
                self.arena.protect(mmap.PROT_READ, first, count)
                assert self.arena.verify(first, count) == []
                self.arena.protect(ALL, first, count)
            case 5:
                # A range with merged pages in it is refused, and so is one with too little memory.
                with contextlib.suppress(OSError):
                    self.arena.advise(MADV_COLLAPSE)
            case 6:
                self.arena.advise(MADV_PAGEOUT, first, count)
            case 7:
                self.fork()
            case 8:
                self.area.remove()
                assert self.arena.verify() == []
                self.area.register(self.arena)
        assert self.arena.verify(first, count) == []

    def fork(self) -> None:
        """Have a child look at everything, write, and look again."""
        pid = os.fork()
        if not pid:
            wrong = self.arena.verify()
            self.arena.fill(content.unique(64, first=7777))
            os._exit(1 if wrong or self.arena.verify() else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "a forked child read wrong"


def play(seed: int) -> None:
    def body(connection: Connection) -> None:
        actor = Actor(seed)
        steps = 0
        while True:
            try:
                actor.step()
            except AssertionError as error:
                connection.send(f"seed {seed} step {steps}: {error}")
                return
            steps += 1
            if not steps % 10:
                connection.send(steps)

    # Its life is short, and it ends by kill -9, whatever it is doing.
    with child(body) as process:
        end = time.monotonic() + random.Random(seed).uniform(1, 5)
        while time.monotonic() < end:
            try:
                said = process.receive(1)
            except TimeoutError:
                continue
            assert isinstance(said, int), said


@pytest.mark.usefixtures("khugepaged_at_full_speed")
def test_everything_by_chance(scanning: KsmSysfs, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    end = time.monotonic() + SECONDS

    def stage(connection: Connection, number: int) -> None:
        turn = 0
        while time.monotonic() < end:
            play(seed + number * 1000 + turn)
            turn += 1
        connection.send("done")

    with swap(tmp_path), contextlib.ExitStack() as stack:
        actors = [
            stack.enter_context(child(lambda to, number=number: stage(to, number)))
            for number in range(PROCESSES)
        ]
        assert [actor.receive(SECONDS * 6) for actor in actors] == ["done"] * PROCESSES
    scanning.wait_until(
        lambda s: s.kernel_pages_allocated == 0 and s.pages_shared == 0, 60, "nothing left"
    )
