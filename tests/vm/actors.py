"""Who does what in the stress test: processes that use their memory in every way there is.

An actor checks its content against what it wrote after each thing that it does. What it does next
is chance, which follows from a seed.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import random
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numa
from children import child

from ksmlab import content
from ksmlab.device import KsmDevice
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import MADV_COLLAPSE, MADV_PAGEOUT, Arena
from ksmlab.patience import patient
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

#: Two huge pages and a half.
NPAGES = 1280
ALL = mmap.PROT_READ | mmap.PROT_WRITE
MADV_COLD = 20
#: Pages of the disk that every actor reads; page n holds the content of key n. Then come slots.
DISK_PAGES = 256
#: Pages of the disk that belong to one stage alone.
SLOT_PAGES = 64
#: Errors of the kernel for a page that is held, absent, or owned by another process. They do not fail the test.
REFUSALS = {errno.EAGAIN, errno.EBUSY, errno.EINVAL, errno.EIO, errno.ENOMEM, errno.EFAULT}
SHORTEST_LIFE, LONGEST_LIFE = 2.0, 12.0
#: Steps that a life has at least, however slow the machine. In one without any, death may come at birth.
FEWEST_STEPS = (0, 3, 6)
#: Seconds for an answer of a process, in addition to the time of its task. Ten other processes use the CPU.
PATIENCE = patient(60.0)


@contextlib.contextmanager
def refusable() -> Iterator[None]:
    """Allow a call to be refused: the content counts, not whether it took effect."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise


def make_disk(path: Path, stages: int) -> None:
    """Write the image of the disk that actors read and write around the page cache."""
    pages = content.Content()
    with path.open("wb") as image:
        for key in range(DISK_PAGES):
            image.write(pages.page(key))
        image.write(bytes(SLOT_PAGES * stages * PAGE_SIZE))


@dataclass(frozen=True)
class Stage:
    """Where one actor after the other lives and dies.

    Attributes:
        number: Which one, from 0.
        seed: What all chance on it follows from.
        disk: The block device that actors do O_DIRECT on.
        nodes: The NUMA nodes.
    """

    number: int
    seed: str
    disk: Path
    nodes: Sequence[int]

    @property
    def slot(self) -> int:
        """Where on the disk it may write, in bytes."""
        return (DISK_PAGES + self.number * SLOT_PAGES) * PAGE_SIZE


class Actor:
    """One process: an arena in a region, and things to do to it."""

    def __init__(self, stage: Stage, seed: str) -> None:
        self.stage = stage
        self.random = random.Random(seed)
        self.disk = os.open(stage.disk, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        self.memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
        self.device = KsmDevice()
        self.area = self.device.create_area()
        self.arena = self.new_arena()
        self.actions: list[Callable[[int, int], None]] = [
            self.fill, self.fill, self.write, self.write_by_reference, self.discard, self.protect,
            self.lock, self.advise, self.collapse, self.page_out, self.fork, self.register_again,
            self.move, self.unmap, self.read_direct, self.write_direct, self.bind,
            self.move_pages, self.migrate,
        ]  # fmt: skip

    def new_arena(self) -> Arena:
        arena = Arena(NPAGES, huge=self.random.random() < 0.7)
        arena.fill(content.cycle(NPAGES, 50))
        self.area.register(arena)
        return arena

    def step(self) -> str:
        """Do one thing, check what should be there, and return its name."""
        first = self.random.randrange(NPAGES)
        count = self.random.randint(1, NPAGES - first)
        action = self.random.choice(self.actions)
        action(first, count)
        what = f"{action.__name__} {first}+{count}"
        self.check(what, first, count)
        return what

    def check(self, what: str, first: int = 0, count: int | None = None) -> None:
        wrong = self.arena.verify(first, count)
        assert not wrong, f"after {what}: {len(wrong)} pages are wrong: {wrong[:20]}"

    def fill(self, first: int, count: int) -> None:
        keys = content.cycle(count, self.random.choice([1, 50, count]))
        self.arena.fill(keys, first)

    def write(self, first: int, count: int) -> None:
        self.arena.write(first, self.random.randbytes(8), 8 * self.random.randrange(500))

    def write_by_reference(self, first: int, count: int) -> None:
        """Another's way in: /proc/PID/mem takes the page by get_user_pages()."""
        offset, data = 8 * self.random.randrange(500), self.random.randbytes(8)
        image = bytearray(self.arena.expected(first))
        image[offset : offset + 8] = data
        os.pwrite(self.memory, data, self.arena.page_address(first) + offset)
        self.arena._other[first] = bytes(image)

    def discard(self, first: int, count: int) -> None:
        self.arena.discard(first, count)

    def protect(self, first: int, count: int) -> None:
        self.arena.protect(mmap.PROT_READ, first, count)
        self.check("mprotect to read only", first, count)
        self.arena.protect(ALL, first, count)

    def lock(self, first: int, count: int) -> None:
        with refusable():
            self.arena.lock(first, count)
            self.check("mlock", first, count)
            self.arena.unlock(first, count)

    def advise(self, first: int, count: int) -> None:
        """All of it, so that mappings join again."""
        self.arena.advise(self.random.choice([mmap.MADV_HUGEPAGE, mmap.MADV_NOHUGEPAGE]))

    def collapse(self, first: int, count: int) -> None:
        # A range with merged pages in it is refused, and so is one with too little memory.
        with refusable():
            self.arena.advise(MADV_COLLAPSE)

    def page_out(self, first: int, count: int) -> None:
        self.arena.advise(self.random.choice([MADV_PAGEOUT, MADV_PAGEOUT, MADV_COLD]), first, count)

    def fork(self, first: int, count: int) -> None:
        """Have a child look at everything, write, and look again; some have regions of their own."""
        pid = os.fork()
        if not pid:
            status = 1
            try:
                status = self.childhood()
            except OSError:
                traceback.print_exc()
            os._exit(status)
        if self.random.randrange(4):
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert status == 0, f"a forked child read wrong, or failed (status {status})"
        else:
            # It dies when it dies: its parent writes meanwhile.
            self.fill(first, count)
            os.kill(pid, 9)
            os.waitpid(pid, 0)

    def childhood(self) -> int:
        wrong = self.arena.verify()
        if self.random.randrange(2):
            with self.device.create_area() as area:
                area.register(self.arena)
                self.arena.fill(content.equal(NPAGES // 2))
                wrong += self.arena.verify()
                area.remove()
        self.arena.fill(content.unique(64, first=7777))
        return 2 if wrong or self.arena.verify() else 0

    def register_again(self, first: int, count: int) -> None:
        self.area.remove()
        self.check("REMOVE")
        self.area.register(self.arena)

    def move(self, first: int, count: int) -> None:
        """Move all of the memory with mremap(); its region stays at the old address for a while."""
        with refusable():
            self.arena.move()
            self.check("mremap")
        self.register_again(first, count)

    def unmap(self, first: int, count: int) -> None:
        """Unmap a part, then all of the memory; then map new memory, often at the same address."""
        self.arena.unmap(first, count)
        self.check("munmap")
        self.arena.close()
        self.area.remove()
        self.arena = self.new_arena()

    def read_direct(self, first: int, count: int) -> None:
        """The device writes to the pages, whatever they were when it began."""
        count = min(count, DISK_PAGES)
        start = self.random.randrange(DISK_PAGES - count + 1)
        view = self.arena.view(first, count)
        assert os.preadv(self.disk, [view], start * PAGE_SIZE) == len(view)
        self.arena._expect(first, content.unique(count, first=start))
        self.check("a read with O_DIRECT", first, count)

    def write_direct(self, first: int, count: int) -> None:
        """Write pages to the disk with O_DIRECT, and read the result into other pages."""
        count = min(count, SLOT_PAGES)
        expected = b"".join(map(self.arena.expected, range(first, first + count)))
        assert os.pwritev(self.disk, [self.arena.view(first, count)], self.stage.slot) == len(
            expected
        )
        with mmap.mmap(-1, len(expected)) as back:
            assert os.preadv(self.disk, [back], self.stage.slot) == len(expected)
            assert back[:] == expected, "O_DIRECT wrote something else"

    def bind(self, first: int, count: int) -> None:
        with refusable():
            numa.prefer(self.arena.address, NPAGES, self.random.choice(self.stage.nodes))

    def move_pages(self, first: int, count: int) -> None:
        with refusable():
            numa.move(
                self.arena.page_address(first), self.random.choices(self.stage.nodes, k=count)
            )

    def migrate(self, first: int, count: int) -> None:
        source, target = self.random.choices(self.stage.nodes, k=2)
        with refusable():
            numa.migrate(os.getpid(), source, target)


def _life(stage: Stage, seed: str, until: float, at_least: int) -> int:
    """Have one actor live on a stage, and end it by kill -9 in whatever it does; return its steps.

    Args:
        stage: Where.
        seed: What its chance follows from.
        until: When it is to die, by the monotonic clock.
        at_least: Steps that it makes, however long they take.
    """

    def body(connection: Connection) -> None:
        steps = 0
        what = "its birth"
        try:
            actor = Actor(stage, seed)
            while True:
                what = actor.step()
                steps += 1
                connection.send(steps)
        # Whatever it is, the test is to hear of it.
        except BaseException as error:  # noqa: BLE001
            connection.send(f"seed {seed}, step {steps} after {what}: {error!r}")

    steps = 0
    with child(body) as process:
        while steps < at_least or time.monotonic() < until:
            if steps >= at_least:
                if not process.speaks(max(until - time.monotonic(), 0)):
                    break
            elif not process.speaks(PATIENCE):
                raise AssertionError(
                    f"seed {seed}: no step in {PATIENCE:.0f} s after {steps}: {process.plight()}"
                )
            said = process.receive()
            assert isinstance(said, int), said
            steps = said
    return steps


def play(stage: Stage, connection: Connection, seconds: float) -> None:
    """Have actors live one after the other for a time; send how many lives and steps there were.

    An error is sent as text.
    """
    until = time.monotonic() + seconds
    lives = steps = 0
    chance = random.Random(f"{stage.seed} {stage.number} lives")
    try:
        while (left := until - time.monotonic()) > 0:
            life = chance.uniform(SHORTEST_LIFE, LONGEST_LIFE)
            end = time.monotonic() + min(left, life)
            # The first makes some steps, so that no stage stays empty.
            at_least = chance.choice(FEWEST_STEPS) if lives else max(FEWEST_STEPS)
            steps += _life(stage, f"{stage.seed} {stage.number} {lives}", end, at_least)
            lives += 1
        connection.send({"lives": lives, "steps": steps})
    except BaseException as error:  # noqa: BLE001
        connection.send(f"stage {stage.number}: {error!r}")


def turn_knobs(connection: Connection, seed: str) -> None:
    """Change the settings of the driver, have memory compacted and caches shrunk, until told to end.

    Sends how often, or an error as text.
    """
    chance = random.Random(f"{seed} knobs")
    vm = Path("/proc/sys/vm")
    turns = 0
    try:
        ksm = KsmSysfs.find()
        deck: list[int] = []
        while not connection.poll(chance.uniform(0, 0.5)):
            # Each has its turn before one has two.
            deck = deck or chance.sample(range(10), 10)
            match deck.pop():
                case 0:
                    ksm.run = 0
                case 1:
                    ksm.run = 2
                case 2:
                    ksm.pages_to_scan = chance.choice([0, 1, 100, 2000, 1 << 31])
                case 3:
                    ksm.sleep = chance.choice([0, 20, 1000, 20_000])
                case 4:
                    ksm.max_kernel_pages = chance.choice([0, 1, 40, 100_000])
                case 5:
                    (vm / "compact_memory").write_text("1")
                case 6:
                    (vm / "drop_caches").write_text("2")
                case 7:
                    ksm.full_scans, ksm.pages_shared, ksm.skipped()
                case 8:
                    ksm.threads = chance.randint(1, 4)
                case 9:
                    ksm.max_page_sharing = chance.choice([40, 256, 511])
            ksm.run = 1
            turns += 1
        connection.send({"turns": turns})
    except BaseException as error:  # noqa: BLE001
        connection.send(f"the knobs, seed {seed}: {error!r}")
