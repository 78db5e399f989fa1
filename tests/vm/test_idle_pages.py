"""Pages that do not change are hashed rarely, and hash collisions leave nothing behind."""

from __future__ import annotations

import time
from array import array
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import kksmd
import pytest
from trace_events import numbers, traced

from ksmlab import content
from ksmlab.content import WORDS
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

#: The longest number of passes between two scans of an idle page (KSM_IDLE_MIN and KSM_IDLE_MAX in kernel/ksm.h).
LONGEST = 33
TABLE = 512


@pytest.fixture
def quiet(scanning: KsmSysfs) -> Iterator[KsmSysfs]:
    """The driver with a sleep between two batches, so that a pass that ends at once does not repeat many times."""
    if not kksmd.finds_by_hash():
        pytest.skip("with index=tree, pages leave the index after each pass, so none is idle")
    with scanning.settings(sleep=500):
        yield scanning


def passes(ksm: KsmSysfs, count: int) -> list[dict[str, int]]:
    """Return the figures of the next passes."""
    with traced("pass_end") as lines:
        ksm.wait_full_scans(count)
    return [numbers(line) for line in lines]


def passes_until(ksm: KsmSysfs, field: str, least: int) -> list[dict[str, int]]:
    """Return the figures of the next passes, until the sum of one figure is large enough."""
    found: list[dict[str, int]] = []
    end = time.monotonic() + patient(60)
    while sum(each[field] for each in found) < least:
        if time.monotonic() > end:
            pytest.fail(f"the sum of {field} does not reach {least}: {found[-LONGEST:]}")
        found += passes(ksm, 1)
    return found


def half_merged() -> Arena:
    """Return memory in which each page that has no match is beside two pages that merge."""
    arena = Arena(TABLE, huge=False)
    arena.fill(array("Q", (key for four in range(TABLE // 4) for key in keys(four))))
    return arena


def keys(four: int) -> tuple[int, int, int, int]:
    """Return the keys of four pages, of which the first two are equal."""
    return 4 * four + 1, 4 * four + 1, 4 * four + 2, 4 * four + 3


def wait_idle(ksm: KsmSysfs, most: int) -> None:
    """Wait until as many passes as skip an idle page hash few pages together."""
    end = time.monotonic() + patient(60)
    while (hashed := sum(each["hashed"] for each in passes(ksm, LONGEST)[:LONGEST])) > most:
        if time.monotonic() > end:
            pytest.fail(f"{LONGEST} passes still hash {hashed} pages, not {most}")


def test_idle_pages_beside_merged_ones_are_hashed_rarely(area: Area, quiet: KsmSysfs) -> None:
    with half_merged() as arena:
        area.register(arena)
        quiet.wait_until(lambda s: s.pages_shared == TABLE // 4, 60, "all pairs to merge")
        # Each of the 256 pages once or twice in 33 passes.
        wait_idle(quiet, TABLE)
        # And not all of them in one pass.
        assert max(each["hashed"] for each in passes(quiet, LONGEST)) < TABLE // 4


def test_idle_pages_are_hashed_in_few_passes(area: Area, quiet: KsmSysfs) -> None:
    """Four times the longest interval is enough for every page to be hashed as rarely as possible.

    Unlike the test above, this one does not wait for the figure, so it fails within seconds.
    """
    with half_merged() as arena:
        area.register(arena)
        quiet.wait_until(lambda s: s.pages_shared == TABLE // 4, 60, "all pairs to merge")
        quiet.wait_full_scans(4 * LONGEST)
        # More passes may end before the wait does: count as many as a page waits for its next hash.
        hashed = sum(each["hashed"] for each in passes(quiet, LONGEST)[:LONGEST])
        assert hashed <= TABLE, f"{LONGEST} passes hash {TABLE // 2} idle pages {hashed} times"


def test_an_idle_page_that_is_written_is_found(area: Area, quiet: KsmSysfs) -> None:
    with half_merged() as arena:
        area.register(arena)
        quiet.wait_until(lambda s: s.pages_shared == TABLE // 4, 60, "all pairs to merge")
        wait_idle(quiet, TABLE)
        arena.write(TABLE - 1, arena.expected(TABLE - 2))
        quiet.wait_until(
            lambda s: s.pages_shared == TABLE // 4 + 1, 60, "the written page to merge"
        )
        assert arena.verify() == []


FAMILIES = 8
VARIANTS = 32


@contextmanager
def families(npages: int) -> Iterator[list[Arena]]:
    """Map memory for some families of contents. The contents of a family differ in one word.

    That word is in another cache line in each family, so the driver's samples miss it in most families.

    Args:
        npages: pages of each family.
    """
    with ExitStack() as stack:
        arenas = []
        for family in range(FAMILIES):
            word = family * WORDS // FAMILIES + 17
            arena = Arena(npages, family, (word,), huge=False)
            arenas.append(stack.enter_context(arena))
        yield arenas


def test_near_duplicates_merge_with_their_equals(area: Area, quiet: KsmSysfs) -> None:
    with families(2 * VARIANTS) as arenas:
        for arena in arenas:
            arena.fill(content.groups(arena.npages, 2))
            area.register(arena)
        wanted = FAMILIES * VARIANTS
        quiet.wait_until(lambda s: s.pages_shared == wanted, 60, "all equal pages to merge")
        assert quiet.kernel_pages_allocated == wanted
        assert not any(arena.verify() for arena in arenas)


def passed(end: float, _ksm: KsmSysfs) -> bool:
    """Return whether the monotonic clock has passed a time."""
    return time.monotonic() > end


def settled_metadata(ksm: KsmSysfs) -> int:
    """Return the bytes of metadata once the collisions of earlier memory have expired."""
    last, now = -1, ksm.read("metadata_bytes")
    while now != last:
        # The driver frees expired collisions twice a second.
        ksm.wait_full_scans(3 * LONGEST)
        end = time.monotonic() + 2
        ksm.wait_until(partial(passed, end), 60, "the driver to free metadata")
        last, now = now, ksm.read("metadata_bytes")
    return now


def test_collisions_are_forgotten_when_their_pages_are_gone(quiet: KsmSysfs) -> None:
    with KsmDevice() as device, Arena(TABLE, huge=False) as idle, device.create_area() as area:
        idle.fill(content.unique(TABLE, first=1 << 32))
        area.register(idle)
        before = settled_metadata(quiet)
        with families(VARIANTS) as arenas, device.create_area() as other:
            for arena in arenas:
                arena.fill(content.unique(VARIANTS))
                other.register(arena)
            passes_until(quiet, "complete", 1)
        assert settled_metadata(quiet) <= before
        # One page of each family has the sample of that family, and collides with no other page.
        with families(1) as arenas, device.create_area() as other:
            for arena in arenas:
                arena.fill(content.unique(1))
                other.register(arena)
            found = passes_until(quiet, "hashed", FAMILIES)
        assert sum(each["complete"] for each in found) == 0


def test_a_collision_does_not_wake_idle_chunks(quiet: KsmSysfs) -> None:
    npages = 8 * TABLE
    with KsmDevice() as device, Arena(npages, huge=False) as idle, device.create_area() as area:
        idle.fill(content.unique(npages, first=1 << 32))
        area.register(idle)
        wait_idle(quiet, 2 * npages)
        with families(VARIANTS) as arenas, device.create_area() as other:
            for arena in arenas:
                arena.fill(content.unique(VARIANTS))
            with traced("pass_end") as lines:
                for arena in arenas:
                    other.register(arena)
                quiet.wait_full_scans(10)
        # In these passes, each idle page is hashed at most once, and every other page once a pass.
        found = [numbers(line) for line in lines][: LONGEST - 1]
        assert sum(each["complete"] for each in found) > 0
        assert sum(each["hashed"] for each in found) <= npages + len(found) * FAMILIES * VARIANTS
