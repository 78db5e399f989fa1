"""After an uncorrectable memory error in a kernel page, its owners get SIGBUS and the page is never used again."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from children import Child, child
from kernel_config import need
from memory_errors import break_page, kernel_handles_errors
from uffd import MODE_MISSING, userfaultfd

from ksmlab import content, pagemap
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

NPAGES = 64


@pytest.fixture(autouse=True)
def _kernel_can_simulate_memory_errors() -> None:
    need("handling of memory errors", kernel_handles_errors(), "CONFIG_MEMORY_FAILURE")


def owner(connection: Connection) -> None:
    """Register equal pages; then do what the messages ask until "end" comes."""
    with (
        KsmDevice() as device,
        device.create_area() as area,
        Arena(NPAGES, huge=False) as arena,
        userfaultfd() as uffd,
    ):
        arena.fill(content.equal(NPAGES))
        area.register(arena)
        connection.send(arena.address)
        while (message := connection.recv()) != "end":
            if message == "break":
                break_page(arena.address)
            elif message == "userfaultfd":
                uffd.register(arena, MODE_MISSING)
            elif message == "remove":
                area.remove()
            elif message == "close":
                area.close()
            elif message == "read":
                arena.verify()
            connection.send(message)


@contextmanager
def merged(ksm: KsmSysfs) -> Iterator[tuple[Child, int]]:
    """Start a process whose pages all map one kernel page; yield it, and the frame number of that page."""
    with child(owner) as process:
        address = process.receive()
        ksm.wait_until(lambda s: s.pages_shared == NPAGES - 1, 60, "all shared")
        (frame,) = set(pagemap.frames(process.pid, address, NPAGES))
        yield process, frame


def test_owners_of_a_broken_kernel_page_get_sigbus(scanning: KsmSysfs) -> None:
    with merged(scanning) as (process, _):
        process.ask("break")
        scanning.wait_until(lambda s: s.kernel_pages_allocated == 0, 60, "the node to go")
        scanning.wait_full_scans(2)
        process.send("read")
        assert process.finish() == -signal.SIGBUS


def test_a_broken_kernel_page_gets_no_new_mapping(scanning: KsmSysfs) -> None:
    with (
        merged(scanning) as (process, broken),
        KsmDevice() as device,
        device.create_area() as area,
        Arena(NPAGES, huge=False) as arena,
    ):
        assert process.ask("break") == "break"
        arena.fill(content.equal(NPAGES))
        area.register(arena)
        scanning.wait_until(
            lambda _: len(set(pagemap.frames(None, arena.address, NPAGES))) == 1, 60, "one frame"
        )
        assert broken not in pagemap.frames(None, arena.address, NPAGES)
        assert arena.verify() == []


@pytest.mark.parametrize("then", ["scan", "remove"])
def test_owners_get_sigbus_after_the_node_of_the_page_has_gone(
    scanning: KsmSysfs, then: str
) -> None:
    with merged(scanning) as (process, _):
        scanning.run = 0
        process.ask("break")
        scanning.wait_until(lambda s: s.kernel_pages_allocated == 0, 60, "the node to go")
        if then == "scan":
            scanning.run = 1
            scanning.wait_full_scans(3)
        else:
            process.ask("remove")
        process.send("read")
        assert process.finish() == -signal.SIGBUS


def test_remove_does_not_copy_a_broken_kernel_page(scanning: KsmSysfs) -> None:
    with merged(scanning) as (process, _):
        scanning.run = 0
        process.ask("break")
        assert process.ask("remove") == "remove"
        process.send("read")
        assert process.finish() == -signal.SIGBUS


def test_close_returns_if_userfaultfd_covers_a_broken_kernel_page(scanning: KsmSysfs) -> None:
    def body(connection: Connection) -> None:
        with (
            KsmDevice() as device,
            Arena(2, huge=False) as pair,
            Arena(NPAGES, huge=False) as arena,
            userfaultfd() as uffd,
        ):
            area = device.create_area()
            pair.fill(content.equal(2, key=2))
            arena.fill(content.equal(NPAGES))
            area.register(pair)
            area.register(arena)
            connection.send("registered")
            connection.recv()
            uffd.register(arena, MODE_MISSING, NPAGES)
            # The driver drops nodes twice a second. When it has just dropped that of the pair, half a second is left
            # until it drops the node of the broken page.
            pair.discard()
            KsmSysfs.find().wait_until(
                lambda s: s.kernel_pages_allocated == 1, 60, "the pair's node to go", interval=0.001
            )
            break_page(arena.address)
            area.close()
            connection.send("closed")
            connection.recv()
            arena.verify()

    with child(body) as process:
        process.receive()
        scanning.wait_until(lambda s: s.pages_shared == NPAGES, 60, "all shared")
        scanning.run = 0
        assert process.ask("close") == "closed"
        process.send("read")
        assert process.finish() == -signal.SIGBUS


@pytest.mark.parametrize("how", ["remove", "close", "run=2"])
def test_unmerge_unmaps_a_broken_kernel_page_in_userfaultfd_mappings(
    scanning: KsmSysfs, how: str
) -> None:
    with child(owner) as first, child(owner) as second:
        addresses = {each: each.receive() for each in (first, second)}
        scanning.wait_until(lambda s: s.pages_shared == 2 * NPAGES - 1, 60, "all shared")
        scanning.run = 0
        for each in addresses:
            each.ask("userfaultfd")
        first.ask("break")
        scanning.wait_until(lambda s: s.kernel_pages_allocated == 0, 60, "the node to go")
        if how == "run=2":
            scanning.run = 2
        else:
            for each in addresses:
                each.ask(how)
        for each, address in addresses.items():
            assert pagemap.frames(each.pid, address, NPAGES) == [0] * NPAGES
            each.send("read")
            assert each.finish() == -signal.SIGBUS


def test_remove_unmaps_a_broken_kernel_page_moved_to_a_userfaultfd_mapping(
    scanning: KsmSysfs,
) -> None:
    def body(connection: Connection) -> None:
        with (
            KsmDevice() as device,
            device.create_area() as area,
            device.create_area() as second,
            Arena(NPAGES, huge=False) as arena,
            userfaultfd() as uffd,
        ):
            arena.fill(content.equal(NPAGES))
            area.register(arena)
            connection.send("registered")
            connection.recv()
            arena.move()
            second.register(arena)
            uffd.register(arena, MODE_MISSING)
            break_page(arena.address)
            KsmSysfs.find().wait_until(
                lambda s: s.kernel_pages_allocated == 0, 60, "the node to go"
            )
            second.remove()
            connection.send(pagemap.frames(None, arena.address, NPAGES))
            connection.recv()
            arena.verify()

    with child(body) as process:
        process.receive()
        scanning.wait_until(lambda s: s.pages_shared == NPAGES - 1, 60, "all shared")
        scanning.run = 0
        assert process.ask("move") == [0] * NPAGES
        process.send("read")
        assert process.finish() == -signal.SIGBUS


def test_breaking_an_unmerged_page_does_not_end_the_process(scanning: KsmSysfs) -> None:
    scanning.run = 0
    with child(owner) as process:
        process.receive()
        assert process.ask("break") == "break"
        process.send("read")
        assert process.finish() == -signal.SIGBUS
