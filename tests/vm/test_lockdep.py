"""The locking order as it is drawn, held against what lockdep has seen."""

from __future__ import annotations

import re
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
CLASS = re.compile(r"^[0-9a-f]+ .*?FD: *\d+ BD: *\d+ \S+: (\S.*)$")
AFTER = re.compile(r"^ -> \[[0-9a-f]+\] (\S.*)$")


def plain(name: str) -> str:
    """Take off what tells classes of one name apart: a number, and the depth of a nesting."""
    return re.sub(r"[#/].*", "", name)


def parse(text: str) -> dict[str, set[str]]:
    """Give the locks that lockdep has seen taken under each lock, with nothing in between."""
    found: dict[str, set[str]] = {}
    last = ""
    for line in text.splitlines():
        if begins := CLASS.match(line):
            last = plain(begins[1])
            found.setdefault(last, set())
        elif after := AFTER.match(line):
            found[last].add(plain(after[1]))
    return found


def under(seen: dict[str, set[str]], name: str) -> set[str]:
    """Give all that comes after a lock, by one step or by several."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for after in seen.get(waiting.pop(), ()):
            if after not in found:
                found.add(after)
                waiting.append(after)
    return found


def named(classes: set[str], lock: str) -> set[str]:
    """Give the classes that are a lock of the drawing."""
    return {each for each in classes if re.fullmatch(lock_order.LOCKDEP_NAMES[lock], each)}


@pytest.fixture
def seen(arena: Arena, area: Area, scanning: KsmSysfs) -> dict[str, set[str]]:
    """What lockdep has seen, after everything that takes our locks was done."""
    need("lockdep", LOCKDEP.exists(), "CONFIG_PROVE_LOCKING")
    area.register(arena)
    all_merged(scanning)
    # Gives each page its own copy, under ksm_run_lock.
    scanning.run = 2
    area.remove()
    on = re.search(r"debug_locks: *(\d)", STATS.read_text())
    assert on, STATS.read_text()
    assert on[1] == "1", "lockdep has found an error and stopped: see the kernel's log"
    return parse(LOCKDEP.read_text())


def test_lockdep_has_seen_the_order_that_is_drawn(seen: dict[str, set[str]]) -> None:
    for outer, inner in lock_order.ARROWS:
        classes = named(set(seen), outer)
        assert classes, f"lockdep knows no {outer}"
        after = set[str]().union(*(under(seen, each) for each in classes))
        assert named(after, inner), f"lockdep has not seen {inner} taken under {outer}"


def test_lockdep_has_seen_none_the_other_way_round(seen: dict[str, set[str]]) -> None:
    order = [each.name for each in lock_order.locks()]
    for depth, inner in enumerate(order):
        after = set[str]().union(*(under(seen, each) for each in named(set(seen), inner)))
        for outer in order[:depth]:
            assert not named(after, outer), f"lockdep has seen {outer} taken under {inner}"


def test_only_what_is_drawn_is_taken_within_each_other(seen: dict[str, set[str]]) -> None:
    """Of the locks that are the driver's own: an arrow that is missing would show here."""
    own = ["ksm_run_lock", "area->lock", "ksm_lock"]
    met = {
        (outer, inner)
        for outer in own
        for inner in own
        if named(set[str]().union(*(seen[each] for each in named(set(seen), outer))), inner)
    }
    assert met == {arrow for arrow in lock_order.ARROWS if set(arrow) <= set(own)}
