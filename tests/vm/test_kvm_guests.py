"""Two KVM guests read and write their memory while it merges.

This is what the driver was first written for, and what ``set_pte_at_notify()`` and the calls to
MMU notifiers are for: without them the guests' nested page tables keep the frames from before
the merge, and the guests read the data of the frames' next owners. See tests/clients/kvm_guests.c.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from kernel_config import built_with

from ksmlab import pagemap
from ksmlab.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable

    from clients import Client

    from ksmlab.sysfs import KsmSysfs

DEADLINE = 120.0
#: Seconds in which each guest has to come round, on an ordinary machine; it takes one or two under emulation.
STANDSTILL = 22.5
#: Rounds of each guest after its memory has merged; each reads all of it.
ROUNDS = 60
#: Each guest has 1/61 of its pages changed at any moment; they merge again later.
MOST = 0.6


@dataclass(frozen=True)
class Guest:
    """One guest, as its program announces it."""

    pid: int
    addr: int
    npages: int
    shared: int

    def frames(self) -> list[int]:
        """Return the frames of the pages that are equal in both guests."""
        return pagemap.frames(self.pid, self.addr, self.shared)


@pytest.fixture(scope="module", autouse=True)
def kvm() -> None:
    """Load KVM; under emulation the guest's CPU has SVM, so that this is nested KVM."""
    if not Path("/dev/kvm").exists():
        for module in ("kvm_amd", "kvm_intel"):
            if subprocess.run(["modprobe", module], check=False).returncode == 0:
                break
    assert Path("/dev/kvm").exists(), "no KVM in this VM: its CPU needs SVM or VMX"


def announced(client: Client) -> list[Guest]:
    """Read where the memory of the guests is."""
    guests = []
    for number in range(2):
        line = client.wait_line(f"guest {number} pid=", DEADLINE)
        found = re.search(r"pid=(\d+) addr=(0x[0-9a-f]+) pages=(\d+) shared=(\d+)", line)
        assert found, line
        guests.append(Guest(int(found[1]), int(found[2], 16), int(found[3]), int(found[4])))
    return guests


def ended(client: Client) -> NoReturn:
    """Fail with what the program said last: which guest read what, and where."""
    client.finish(DEADLINE)
    pytest.fail(f"the guests have ended: {client.lines[-3:]}", pytrace=False)


class Rounds:
    """How many rounds the guests have behind them, and since when."""

    def __init__(self, client: Client, standstill: float = STANDSTILL) -> None:
        self._client = client
        self._standstill = standstill
        self._since = [(0, time.monotonic())] * 2

    def read(self) -> list[int]:
        """Read the next report, while the guests run; none of them may stand still."""
        try:
            line = self._client.wait_line("rounds ", DEADLINE)
        except EOFError:
            ended(self._client)
        counts = [int(count) for count in line.split()[1:]]
        now = time.monotonic()
        self._since = [
            (old if old[0] == count else (count, now))
            for old, count in zip(self._since, counts, strict=True)
        ]
        for guest, (count, since) in enumerate(self._since):
            assert now - since < patient(self._standstill), (
                f"guest {guest} stands still in round {count}"
            )
        return counts


def merged(client: Client, guests: list[Guest]) -> int:
    """Count the pages that both guests have in the same frame, while they run."""
    # A guest that has just ended has no page tables, or no file in /proc, any more.
    with contextlib.suppress(OSError):
        pairs = zip(*(guest.frames() for guest in guests), strict=True)
        return sum(one == other != 0 for one, other in pairs)
    ended(client)


@pytest.mark.parametrize("memory", ["small", "huge"])
def test_guests_read_what_they_wrote(
    start_client: Callable[..., Client], scanning: KsmSysfs, memory: str
) -> None:
    scanning.sleep = 20000
    # Each page is written once in 61 rounds. Where kksmd is slow and the guests are not, it does not
    # get round twice in that time, unless they pause.
    pause, more_rounds = ("1000", ROUNDS // 4) if built_with("CONFIG_KASAN") else ("0", ROUNDS)
    huge = ["--thp"] if memory == "huge" else []
    client = start_client("kvm_guests", "--pause", pause, *huge)
    guests = announced(client)
    wanted = int(guests[0].shared * MOST)
    end = time.monotonic() + patient(DEADLINE)
    # A guest that reads something wrong ends the program, and with it the wait for a line.
    rounds = Rounds(client)
    start = rounds.read()
    while (both := merged(client, guests)) < wanted:
        assert time.monotonic() < end, f"{both} of {wanted} merged: {scanning.counters()}"
        start = rounds.read()
    assert scanning.kernel_pages_allocated >= wanted

    # Pages merge, and are written and so broken, all the time.
    while min(seen := rounds.read()) < max(start) + more_rounds:
        assert time.monotonic() < end + patient(DEADLINE), f"the guests are slow: {seen}"
    assert merged(client, guests) > 0
    assert client.finish(DEADLINE) == 0, client.lines
    assert client.lines[-1].startswith("verdict ok"), client.lines


def test_guests_go_on_after_a_merge(
    start_client: Callable[..., Client], scanning: KsmSysfs
) -> None:
    """Small ones, which come round many times a second: what holds them up is seen soon."""
    client = start_client("kvm_guests", "--pages", "256", "--hog", "0")
    guests = announced(client)
    rounds = Rounds(client, standstill=STANDSTILL / 3)
    end = time.monotonic() + patient(DEADLINE)
    while not merged(client, guests):
        rounds.read()
        assert time.monotonic() < end, f"nothing has merged: {scanning.counters()}"
    start = rounds.read()
    while min(seen := rounds.read()) < max(start) + ROUNDS // 10:
        assert time.monotonic() < end + patient(DEADLINE), f"the guests are slow: {seen}"
    assert client.finish(DEADLINE) == 0, client.lines


def test_guests_notice_a_wrong_byte(start_client: Callable[..., Client]) -> None:
    client = start_client("kvm_guests", "--no-ksm", "--corrupt")
    with pytest.raises(EOFError):
        client.wait_line("verdict ok", DEADLINE)
    assert client.finish(DEADLINE) == 1
    assert any("guest 1 WRONG: page 100 offset 4000" in line for line in client.lines), client.lines
