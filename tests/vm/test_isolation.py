"""A process whose mmap lock is held does not delay other clients of the driver."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import kksmd
import proc
from children import Child, child, die_with_parent
from equal import NPAGES

from ksmlab import content
from ksmlab.device import KsmDevice
from ksmlab.lab_device import PteLab
from ksmlab.memory import Arena
from ksmlab.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

#: Longest time that a call of another process may take, in seconds.
PROMPT = 1.0
#: Time that a process holds its mmap lock, and time between two such periods, in milliseconds.
HELD = FREE = 20


def hold(connection: Connection, shared: Area | None) -> None:
    """Register equal pages; then, on a message, hold the mmap lock until this process ends.

    Args:
        connection: The connection to the test.
        shared: The area to register them in, which is then closed in this process. By default, a new area.
    """
    with KsmDevice() as device, Arena(NPAGES, huge=False) as arena, PteLab() as lab:
        arena.fill(content.equal(NPAGES))
        area = shared or device.create_area()
        area.register(arena)
        connection.send("registered")
        assert connection.recv() == "hold"
        if shared:
            shared.close()
        connection.send("holding")
        lab.hold_mmap_lock()


def wait_in_kernel(process: Child, function: str, state: str, seconds: float) -> None:
    """Wait until a process is in a state (a letter of proc.state()), with a function on its stack in the kernel."""
    task = Path(f"/proc/{process.pid}")
    deadline = time.monotonic() + patient(seconds)
    while function not in (task / "stack").read_text() or proc.state(task) != state:
        assert time.monotonic() < deadline, f"not in {function}(): {process.plight()}"


@contextmanager
def held(ksm: KsmSysfs, shared: Area | None = None) -> Iterator[Child]:
    """Start a process with merged pages that holds its own mmap lock; see hold().

    kksmd sleeps between two passes while the process takes the lock. In the middle of a pass, it could find the lock
    free for some pages of the region, and then begin with the other ones in each pass that follows.
    """
    with child(lambda connection: hold(connection, shared)) as process:
        assert process.receive() == "registered"
        ksm.wait_until(lambda s: s.pages_shared == NPAGES - 1, 60, "its pages to merge")
        with ksm.settings(pages_to_scan=kksmd.ALL_PAGES, sleep=kksmd.LONG):
            kksmd.one_batch(ksm)
            assert process.ask("hold") == "holding"
            wait_in_kernel(process, "lab_ioctl", "S", 60)
        yield process


def wait_for_mmap_lock(writer: Child) -> None:
    """Wait until a writer of run=2 waits for the mmap lock of a region."""
    wait_in_kernel(writer, "ksm_unmerge_region", "D", 10)


def seconds_of(body: Callable[[], object]) -> float:
    start = time.monotonic()
    body()
    return time.monotonic() - start


def test_pages_of_others_merge_while_an_mmap_lock_is_held(
    scanning: KsmSysfs, area: Area, arena: Arena
) -> None:
    with held(scanning):
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 2 * NPAGES - 1, 20, "our pages to merge")
        assert kksmd.skipped(scanning)["busy"] == NPAGES


def hold_shared(connection: Connection) -> None:
    """Register pages, share them with a forked process, and hold the mmap lock; that process then registers them."""
    with KsmDevice() as device, Arena(NPAGES, huge=False) as arena, PteLab() as lab:
        arena.fill(content.unique(NPAGES, first=1 << 32))
        with device.create_area() as area:
            area.register(arena)
            connection.send("registered")
            connection.recv()
            if os.fork():
                lab.hold_mmap_lock()
            die_with_parent()
            with device.create_area() as own:
                connection.recv()
                own.register(arena)
                connection.send("shared")
                connection.recv()


def test_pages_that_a_held_process_shares_do_not_stop_the_scanner(
    scanning: KsmSysfs, area: Area, arena: Arena
) -> None:
    """The page of an item in the index may be the same page, so the scanner looks it up in the process that is held."""
    with child(hold_shared) as process:
        process.receive()
        scanning.wait_full_scans(2)
        process.send("hold")
        wait_in_kernel(process, "lab_ioctl", "S", 60)
        process.ask("register")
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == NPAGES - 1, 20, "our pages to merge")


def test_run_0_remove_and_close_of_others_return_while_an_mmap_lock_is_held(
    scanning: KsmSysfs, arena: Arena
) -> None:
    with held(scanning), KsmDevice() as device, device.create_area() as area:
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 2 * NPAGES - 1, 20, "our pages to merge")
        assert seconds_of(area.remove) < patient(PROMPT)
        area.register(arena)
        scanning.wait_until(lambda s: s.pages_shared == 2 * NPAGES - 1, 20, "our pages to merge")
        assert seconds_of(lambda: scanning.write("run", 0)) < patient(PROMPT)
        assert seconds_of(area.close) < patient(PROMPT)
        assert scanning.pages_shared == NPAGES - 1


def test_close_does_not_wait_for_a_writer_of_run_2(scanning: KsmSysfs) -> None:
    """The writer waits for the mmap lock of another process, whose region is in the area that is closed."""

    def writer(connection: Connection) -> None:
        connection.recv()
        scanning.run = 2

    # The processes start before the area exists, so that we close its last descriptor.
    with child(writer) as waiting, KsmDevice() as device:
        area = device.create_area()
        with held(scanning, area):
            waiting.send("write")
            wait_for_mmap_lock(waiting)
            assert seconds_of(area.close) < patient(PROMPT)
            assert proc.state(Path(f"/proc/{waiting.pid}")) == "D"
            assert scanning.pages_shared == NPAGES - 1
        assert waiting.finish() == 0
    scanning.run = 1
    scanning.wait_until(lambda s: s.kernel_pages_allocated == 0, 10, "the kernel page to be freed")


def test_pages_merge_when_their_mmap_lock_is_held_half_of_the_time(
    scanning: KsmSysfs, area: Area
) -> None:
    """Each pass enters the region where the last one found the lock contended, so all pages are scanned in the end."""
    npages = 32 * NPAGES
    stop = threading.Event()

    def hold_and_release() -> None:
        with PteLab() as lab:
            while not stop.wait(FREE / 1000):
                lab.hold_mmap_lock(HELD)

    with Arena(npages, huge=False) as arena:
        arena.fill(content.cycle(npages, NPAGES))
        thread = threading.Thread(target=hold_and_release)
        thread.start()
        try:
            area.register(arena)
            with scanning.settings(pages_to_scan=256, sleep=5000):
                scanning.wait_until(
                    lambda s: s.pages_shared == npages - NPAGES, 120, "all to merge"
                )
        finally:
            stop.set()
            thread.join()
        assert arena.verify() == []


def test_a_writer_of_run_2_that_waits_for_an_mmap_lock_can_be_killed(scanning: KsmSysfs) -> None:
    def writer(connection: Connection) -> None:
        connection.recv()
        scanning.run = 2

    # On exit the holder is killed first, even if the test fails, so that the writer stops waiting.
    with child(writer) as waiting, held(scanning) as process:
        assert process.pid
        waiting.send("write")
        wait_for_mmap_lock(waiting)
        os.kill(waiting.pid, signal.SIGKILL)
        assert waiting.finish() == -signal.SIGKILL
