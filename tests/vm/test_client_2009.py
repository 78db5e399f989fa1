"""A program of 2009, unchanged: its memory merges, and stays what it was."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ksmlab import pagemap

if TYPE_CHECKING:
    from collections.abc import Callable

    from clients import Client

    from ksmlab.sysfs import KsmSysfs

#: All equal, and fewer than half of max_page_sharing: two clients share one kernel page.
NPAGES = 100
DEADLINE = 60.0


def test_its_memory_merges(start_client: Callable[..., Client], scanning: KsmSysfs) -> None:
    client = start_client("ksm2009", str(NPAGES))
    match = re.fullmatch(r"addr=(0x[0-9a-f]+) npages=(\d+)", client.line(DEADLINE))
    assert match, client.lines
    addr, npages = int(match[1], 16), int(match[2])
    assert npages == NPAGES

    def frames() -> list[int]:
        return pagemap.frames(client.pid, addr, npages)

    # kksmd counts a merged page after it has changed the page table.
    scanning.wait_until(
        lambda s: s.pages_shared >= npages - 1 and pagemap.distinct(frames()) == 1,
        DEADLINE,
        "one frame for the client's memory",
    )
    assert 0 not in frames()
    assert all(entry.file for entry in pagemap.entries(client.pid, addr, npages))
    assert client.finish(DEADLINE) == 0


def test_two_of_them_share_one_frame(
    start_client: Callable[..., Client], scanning: KsmSysfs
) -> None:
    clients = [start_client("ksm2009", str(NPAGES)) for _ in range(2)]
    places = [
        (client.pid, int(client.line(DEADLINE).split()[0].removeprefix("addr="), 16))
        for client in clients
    ]

    def frames() -> set[int]:
        return {pfn for pid, addr in places for pfn in pagemap.frames(pid, addr, NPAGES)}

    scanning.wait_until(lambda _: len(frames()) == 1, DEADLINE, "one frame for both clients")
    assert frames() != {0}
    assert [client.finish(DEADLINE) for client in clients] == [0, 0]
