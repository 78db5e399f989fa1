"""The locking order as it is drawn, held against what lockdep has seen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from equal import all_merged
from kernel_config import need

from drawings import lock_order

if TYPE_CHECKING:
    from ksmlab.device import Area
    from ksmlab.memory import Arena
    from ksmlab.sysfs import KsmSysfs

LOCKDEP = Path("/proc/lockdep")
STATS = Path("/proc/lockdep_stats")
CLASS = re.compile(r"^([0-9a-f]+) .*?FD: *\d+ BD: *\d+ \S+: (\S.*)$")
#: Entering an SRCU read-side section never waits. So locks taken in the section are not ordered after the
#: locks under which the section is entered. lockdep knows that, but /proc/lockdep does not show it.
SRCU = re.compile(r"(&.*[>.])?srcu")
AFTER = re.compile(r"^ -> \[([0-9a-f]+)\] \S")


def plain(name: str) -> str:
    """Take off what tells classes of one name apart: a number, and the depth of a nesting."""
    return re.sub(r"[#/].*", "", name)


@dataclass
class Seen:
    """The lock orders that lockdep has seen (/proc/lockdep).

    Names do not identify classes: a dozen unrelated locks are called "&____s->seqcount". Merging
    them by name would produce lock orders that no thread has ever used.

    Attributes:
        names: The name of each class, by its key.
        after: The keys of the classes that were taken directly under each class.
    """

    names: dict[str, str]
    after: dict[str, set[str]]

    def under(self, lock: str) -> set[str]:
        """Name all that comes after a lock of the drawing, by one step or by several."""
        found: set[str] = set()
        waiting = self.classes(lock)
        while waiting:
            new = self.after[waiting.pop()] - found
            found |= new
            waiting += [key for key in new if not SRCU.fullmatch(self.names[key])]
        return {self.names[key] for key in found}

    def classes(self, lock: str) -> list[str]:
        """Give the keys of the classes that are a lock of the drawing."""
        return [key for key, name in self.names.items() if is_lock(name, lock)]


def parse(text: str) -> Seen:
    """Read /proc/lockdep."""
    seen = Seen({}, {})
    last = ""
    for line in text.splitlines():
        if begins := CLASS.match(line):
            last = begins[1]
            seen.names[last] = plain(begins[2])
            seen.after.setdefault(last, set())
        elif after := AFTER.match(line):
            seen.after[last].add(after[1])
    return seen


def is_lock(name: str, lock: str) -> bool:
    """Say whether a class is a lock of the drawing."""
    return re.fullmatch(lock_order.LOCKDEP_NAMES[lock], name) is not None


def named(names: set[str], lock: str) -> set[str]:
    """Choose those that are a lock of the drawing."""
    return {name for name in names if is_lock(name, lock)}


@pytest.fixture
def seen(arena: Arena, area: Area, scanning: KsmSysfs) -> Seen:
    """What lockdep has seen, after everything that takes our locks was done."""
    need("lockdep", LOCKDEP.exists(), "CONFIG_PROVE_LOCKING")
    area.register(arena)
    all_merged(scanning)
    # A worker, which takes prune_lock, runs every half second while there are regions.
    scanning.wait_until(
        lambda _: bool(parse(LOCKDEP.read_text()).classes("prune_lock")),
        10,
        "a walk over all nodes",
    )
    # Gives each page its own copy, under ksm_run_lock.
    scanning.run = 2
    area.remove()
    on = re.search(r"debug_locks: *(\d)", STATS.read_text())
    assert on, STATS.read_text()
    assert on[1] == "1", "lockdep has found an error and stopped: see the kernel's log"
    return parse(LOCKDEP.read_text())


def test_lockdep_has_seen_the_order_that_is_drawn(seen: Seen) -> None:
    for outer, inner in lock_order.ARROWS:
        assert seen.classes(outer), f"lockdep knows no {outer}"
        assert named(seen.under(outer), inner), f"lockdep has not seen {inner} taken under {outer}"


def test_lockdep_has_seen_none_the_other_way_round(seen: Seen) -> None:
    levels = lock_order.levels()
    for depth, level in enumerate(levels):
        outers = [lock for above in levels[:depth] for lock in above.locks]
        for inner in level.locks:
            after = seen.under(inner)
            for outer in outers:
                assert not named(after, outer), f"lockdep has seen {outer} taken under {inner}"


def test_only_what_is_drawn_is_taken_within_each_other(seen: Seen) -> None:
    """Of the locks that are the driver's own: an arrow that is missing would show here."""
    own = ["ksm_run_lock", "area->lock", "prune_lock", "ksm_lock"]
    met = {
        (outer, inner)
        for outer in own
        for inner in own
        if any(
            is_lock(seen.names[after], inner)
            for key in seen.classes(outer)
            for after in seen.after[key]
        )
    }
    assert met == {arrow for arrow in lock_order.ARROWS if set(arrow) <= set(own)}
