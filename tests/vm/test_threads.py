"""Several scanners at once: they share a pass, and nothing else is different."""

from __future__ import annotations

import errno
import os
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import faults
import kksmd
import pytest
from children import child
from equal import shares
from faults import walk

from ksmlab import content, libc, pagemap
from ksmlab.device import KsmDevice
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs, SysfsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from modules import Modules

    from ksmlab.device import Area

MOST = 16
#: Pages that one page table maps: what a scanner takes at a time.
CHUNK = 512
NPAGES = 4 * CHUNK

injection = pytest.fixture(faults.enable)


@pytest.fixture
def ksm() -> Iterator[KsmSysfs]:
    """The driver, with one thread again after the test."""
    ksm = KsmSysfs.find()
    yield ksm
    ksm.threads = 1


@pytest.fixture(params=[2, 4])
def several(request: pytest.FixtureRequest, scanning: KsmSysfs, ksm: KsmSysfs) -> KsmSysfs:
    """Two or four scanners at work, fast."""
    ksm.threads = request.param
    return scanning


def running() -> set[str]:
    """Return the names of the threads that scan."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        # Another process may end meanwhile.
        with suppress(OSError):
            found.add(path.read_text().strip())
    return {name for name in found if name.split("/")[0] == "kksmd"}


def frames(arena: Arena) -> list[int]:
    return pagemap.frames(None, arena.address, arena.npages)


def cycling(connection: Connection) -> None:
    """Register pages of which every hundredth is the same, say where, and check them when asked."""
    with KsmDevice() as device, device.create_area() as area, Arena(NPAGES, huge=False) as arena:
        arena.fill(content.cycle(NPAGES, 100))
        area.register(arena)
        connection.send(arena.address)
        while True:
            connection.recv()
            connection.send(arena.verify())


def test_one_thread_unless_it_is_told(ksm: KsmSysfs) -> None:
    assert ksm.threads == 1
    assert running() == {"kksmd"}


@pytest.mark.parametrize(
    "text", ["0", str(MOST + 1), "-1", "x", "\n", "2 2", "99999999999999999999"]
)
def test_what_is_no_number_of_threads_is_einval(ksm: KsmSysfs, text: str) -> None:
    ksm.threads = 2
    with pytest.raises(SysfsError) as caught:
        ksm.write("threads", text)
    assert caught.value.errno == errno.EINVAL
    assert ksm.threads == 2
    assert len(running()) == 2


@pytest.mark.parametrize("run", [0, 1])
def test_there_are_as_many_as_it_says(ksm: KsmSysfs, run: int) -> None:
    with ksm.settings(run=run):
        for count in (2, MOST, 3, 1, 4):
            ksm.threads = count
            assert ksm.threads == count
            assert running() == {"kksmd"} | {f"kksmd/{number}" for number in range(1, count)}


@pytest.mark.usefixtures("injection")
def test_a_thread_that_cannot_be_started_changes_nothing(ksm: KsmSysfs) -> None:
    """The second of two more, as well: the first of them is stopped again."""
    refused = 0
    for trial in walk(lambda: ksm.write("threads", 3)):
        if trial.error is not None:
            assert trial.errno == errno.ENOMEM, trial
            assert ksm.threads == 1, trial
            assert running() == {"kksmd"}, trial
            refused += 1
        ksm.threads = 1
    assert refused >= 2


def test_equal_pages_of_three_processes(several: KsmSysfs) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(child(cycling)) for _ in range(3)]
        places = [process.receive() for process in processes]
        several.wait_until(lambda s: s.pages_shared == 3 * NPAGES - 100, 120, "all to be shared")
        several.wait_full_scans(2)
        assert several.pages_shared == 3 * NPAGES - 100
        assert several.kernel_pages_allocated == 100
        found = [
            pagemap.frames(process.pid, place, NPAGES)
            for process, place in zip(processes, places, strict=True)
        ]
        assert found[0] == found[1] == found[2]
        assert len(set(found[0])) == 100
        assert [process.ask() for process in processes] == [[], [], []]


@pytest.mark.parametrize("index", ["hash", "tree"])
def test_with_either_index(modules: Modules, index: str) -> None:
    """All pages twice, in two regions in opposite order, and huge pages where the system likes."""
    keys = content.unique(NPAGES)
    with modules.without():
        modules.load("ksm", "sysfs=takeover", f"index={index}")
        ksm = KsmSysfs.find()
        with (
            KsmDevice() as device,
            device.create_area() as area,
            Arena(NPAGES) as first,
            Arena(NPAGES) as second,
            ksm.settings(threads=3, sleep=1000, pages_to_scan=300, max_kernel_pages=0, run=1),
        ):
            first.fill(keys)
            second.fill(keys[::-1])
            area.register(first)
            area.register(second)
            ksm.wait_until(lambda s: s.pages_shared == NPAGES, 120, "all to be shared")
            ksm.wait_full_scans(2)
            assert ksm.pages_shared == ksm.kernel_pages_allocated == NPAGES
            assert frames(first) == frames(second)[::-1]
            assert first.verify() == second.verify() == []


def cpu_time() -> list[float]:
    """Give the seconds of CPU time that each scanner has used."""
    return [kksmd.runtime(name) for name in sorted(running())]


def test_they_share_the_work(several: KsmSysfs, area: Area) -> None:
    """Each of them has used the CPU, though there is one region only."""
    with Arena(NPAGES, huge=False) as arena:
        arena.fill(content.groups(NPAGES, 4))
        area.register(arena)
        several.wait_until(lambda s: s.pages_shared == NPAGES * 3 // 4, 120, "all to be shared")
        # The first has been here for as long as the driver has.
        before = cpu_time()
        # So few at a time that none has done it all before another is awake.
        with several.settings(pages_to_scan=CHUNK // 4):
            several.wait_full_scans(20)
        used = [now - then for now, then in zip(cpu_time(), before, strict=True)]
        assert len(used) == several.threads
        # A thread that does nothing but sleep uses a fraction of that.
        assert min(used) > sum(used) / len(used) / 8, used
        assert arena.verify() == []


def skipped_memory(connection: Connection) -> None:
    """Register memory that is skipped by the VMA, by the page, and across holes and small regions; report how much."""
    with (
        KsmDevice() as device,
        device.create_area() as area,
        Arena(3 * CHUNK + 100, shared=True) as shared,
        Arena(3 * CHUNK + 77, huge=False) as zeros,
        Arena(300, shared=True) as pieces,
    ):
        shared.fill(content.equal(shared.npages))
        # To read is not to write: it maps the zero page, page by page.
        for page in range(zeros.npages):
            assert zeros.page_view(page)[0] == 0
        # A terabyte, all of it a hole except one mapping of shared memory in the middle.
        hole = libc.map_anonymous(1 << 40, noreserve=True)
        libc.unmap(hole, 1 << 40)
        with Arena(50, shared=True) as island:
            area.register(shared)
            area.register(zeros)
            for page in range(0, 300, 3):
                area.register(pieces.page_address(page), 2)
            area.register(hole, (1 << 40) // PAGE_SIZE)
            inside = hole <= island.address < hole + (1 << 40)
            skipped = {
                "shared_vma": shared.npages + 200 + (50 if inside else 0),
                "zero_page": zeros.npages,
            }
            connection.send(skipped)
            connection.recv()


def scanned_more(passes: int, ksm: KsmSysfs) -> bool:
    """Return whether more than this number of passes has ended."""
    return ksm.full_scans > passes


def test_each_page_is_looked_at_once_a_pass(several: KsmSysfs) -> None:
    """The memory is that of a child that waits, since a process that maps memory can delay the scan of its regions."""
    with child(skipped_memory) as process:
        expected = process.receive()
        several.wait_full_scans(2)
        for _ in range(30):
            passes = several.full_scans
            skipped = several.skipped()
            if several.full_scans == passes:
                assert {name: skipped[name] for name in expected} == expected
            several.wait_until(partial(scanned_more, passes), 60, "a pass")


def test_the_pace_is_that_of_each(ksm: KsmSysfs, scanning: KsmSysfs, area: Area) -> None:
    """Two threads look at no more than twice pages_to_scan in a sleep, however fast the machine is."""
    with Arena(NPAGES, huge=False) as arena:
        # Where something is merged, no pass leaves anything out.
        arena.fill(content.groups(NPAGES, 4))
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == NPAGES * 3 // 4, 60, "all to be shared")
        ksm.threads = 2
        with scanning.settings(pages_to_scan=128, sleep=50_000):
            assert kksmd.pass_takes(scanning, NPAGES / 256 * 0.05 * 0.8)


def test_more_and_fewer_while_they_merge(ksm: KsmSysfs, scanning: KsmSysfs) -> None:
    """A thread that goes leaves what it has begun to others: passes go on, and nothing is missed."""
    with ExitStack() as stack, scanning.settings(pages_to_scan=100, sleep=0):
        processes = [stack.enter_context(child(cycling)) for _ in range(2)]
        for process in processes:
            process.receive()
        for turn in range(60):
            ksm.threads = (1, 3, 2, MOST, 1, 4)[turn % 6]
        passes = scanning.full_scans
        scanning.wait_until(lambda s: s.pages_shared == 2 * NPAGES - 100, 120, "all to be shared")
        scanning.wait_until(lambda s: s.full_scans > passes + 5, 60, "passes to go on")
        assert [process.ask() for process in processes] == [[], []]


def test_regions_come_and_go(several: KsmSysfs) -> None:
    """Two processes register and remove, over and over, with the scanners in their regions."""

    def body(connection: Connection) -> None:
        with KsmDevice() as device, device.create_area() as area, Arena(NPAGES) as arena:
            connection.send("here")
            while not connection.poll():
                arena.fill(content.cycle(NPAGES, 100))
                area.register(arena)
                time.sleep(0.05)
                area.remove()
                # In one go, so that nothing is left of what was merged.
                if len(set(frames(arena))) != NPAGES or arena.verify():
                    connection.send("a page was left merged, or has changed")
                    return
            connection.send("done")
            connection.recv()

    with child(body) as one, child(body) as other:
        assert [one.receive(), other.receive()] == ["here", "here"]
        time.sleep(15)
        assert one.ask(deadline=120) == other.ask(deadline=120) == "done"
    several.wait_until(lambda s: s.kernel_pages_allocated == 0, 60, "nothing left")


def test_kill_9_while_they_merge(several: KsmSysfs) -> None:
    """Of processes that share their pages with one that lives on."""
    with child(cycling) as witness:
        witness.receive()
        for turn in range(12):
            with ExitStack() as stack:
                for _ in range(2):
                    stack.enter_context(child(cycling)).receive()
                time.sleep(turn / 20)
        assert witness.ask() == []
        several.wait_until(lambda s: s.pages_shared == NPAGES - 100, 120, "the witness alone")
        assert witness.ask() == []


def test_run_2_leaves_nothing_merged(several: KsmSysfs, area: Area) -> None:
    with Arena(NPAGES, huge=False) as arena, child(cycling) as process:
        arena.fill(content.cycle(NPAGES, 100))
        area.register(arena)
        place = process.receive()
        for turn in range(10):
            several.run = 1
            several.wait_until(partial(shares, turn * 400), 120, "some to be shared")
            several.run = 2
            stopped = several.full_scans
            assert (several.pages_shared, several.kernel_pages_allocated) == (0, 0)
            assert pagemap.distinct(frames(arena)) == NPAGES
            assert pagemap.distinct(pagemap.frames(process.pid, place, NPAGES)) == NPAGES
            time.sleep(0.05)
            assert several.full_scans == stopped
        assert arena.verify() == process.ask() == []


def test_run_2_and_remove_at_the_same_time(several: KsmSysfs) -> None:
    """Both drop ksm_lock in between, and each waits for the other where it must."""

    def body(connection: Connection) -> None:
        with KsmDevice() as device, device.create_area() as area, Arena(NPAGES) as arena:
            arena.fill(content.cycle(NPAGES, 100))
            while True:
                area.register(arena)
                connection.send("registered")
                connection.recv()
                area.remove()
                connection.send((len(set(frames(arena))), arena.verify()))

    with child(body) as one, child(body) as other:
        for _ in range(8):
            assert [one.receive(), other.receive()] == ["registered", "registered"]
            several.run = 1
            several.wait_until(lambda s: s.pages_shared > NPAGES, 120, "pages to be shared")
            one.send()
            several.run = 2
            other.send()
            assert one.receive() == other.receive() == (NPAGES, [])
            assert several.kernel_pages_allocated == 0


def test_unload_with_several_threads(modules: Modules) -> None:
    with modules.without():
        for turn in range(10):
            modules.load_usual("ksm")
            ksm = KsmSysfs.find()
            ksm.threads, ksm.sleep, ksm.pages_to_scan, ksm.run = 2 + turn % 3, 0, 2000, 1
            with KsmDevice() as device, device.create_area() as area, Arena(NPAGES) as arena:
                arena.fill(content.cycle(NPAGES, 100))
                area.register(arena)
                ksm.wait_until(partial(shares, turn * 200), 120, "some shared")
            modules.unload_all()
            assert running() == set()
            assert os.path.exists("/sys/kernel/mm")
