"""Rule 7: fork, before the merge and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from children import child
from equal import NPAGES, all_merged

from ksmlab import content, pagemap
from ksmlab.device import KsmDevice

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from ksmlab.device import Area
    from ksmlab.memory import Arena
    from ksmlab.sysfs import KsmSysfs


def test_fork_before_the_merge(scanning: KsmSysfs, arena: Arena) -> None:
    """Parent and child share anonymous pages already; both are registered."""

    def body(connection: Connection) -> None:
        with KsmDevice() as device, device.create_area() as own:
            own.register(arena)
            connection.send("registered")
            connection.recv()
            arena.fill(content.unique(NPAGES // 2, first=5000))
            connection.send(arena.verify())
            connection.recv()

    with KsmDevice() as device, device.create_area() as area, child(body) as process:
        area.register(arena)
        process.receive()
        scanning.wait_until(lambda s: s.pages_shared == 2 * NPAGES - 1, 60, "all shared")
        ours = set(pagemap.frames(None, arena.address, NPAGES))
        assert ours == set(pagemap.frames(process.pid, arena.address, NPAGES))
        assert process.ask() == []
        assert arena.verify() == []
        arena.fill(content.unique(NPAGES, first=9000))
        assert arena.verify() == []


def test_fork_after_the_merge(scanning: KsmSysfs, arena: Arena) -> None:
    """The child maps the kernel page, is not registered, and outlives the area."""
    wanted = arena.expected(0)

    def body(connection: Connection) -> None:
        while connection.recv() != "end":
            connection.send(arena.verify())
        arena.write(1, b"the child's own")
        connection.send(arena.verify())

    with KsmDevice() as device, device.create_area() as area:
        area.register(arena)
        all_merged(scanning)
        with child(body) as process:
            assert process.ask("verify") == []
            arena.fill(content.unique(NPAGES, first=100))
            assert process.ask("verify") == []
            area.remove()
            # Only the child maps the kernel page now. It still exists, and the driver still counts it.
            frames = pagemap.frames(process.pid, arena.address, NPAGES)
            assert len(set(frames)) == 1
            assert scanning.kernel_pages_allocated == 1
            assert process.ask("verify") == []
            assert process.ask("end") == []
    assert arena.verify() == []
    assert wanted != arena.expected(0)


def test_the_child_of_a_fork_registers_what_it_inherited(
    area: Area, arena: Arena, scanning: KsmSysfs
) -> None:
    area.register(arena)
    all_merged(scanning)

    def body(connection: Connection) -> None:
        with KsmDevice() as device, device.create_area() as own:
            own.register(arena)
            connection.send("registered")
            connection.recv()
            own.remove()
            connection.send(pagemap.distinct(pagemap.frames(None, arena.address, NPAGES)))
            connection.recv()

    with child(body) as process:
        process.receive()
        scanning.wait_until(lambda s: s.pages_shared == 2 * NPAGES - 1, 60, "both counted")
        assert process.ask() == NPAGES
        assert scanning.pages_shared == NPAGES - 1
