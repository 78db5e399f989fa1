"""What pictures and the demonstration's page are made of: squares as they are, and the driver's events on the side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ksmlab import content
from ksmlab.demo import trace
from ksmlab.device import KsmDevice
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena
from ksmlab.pictures.guest import take
from ksmlab.pictures.model import Moment, Picture, Square
from ksmlab.pictures.plan import FEWEST_PAGES, Plan
from ksmlab.sysfs import KsmSysfs

#: The run from which docs/images/merge.svg is drawn.
STORED = Path(__file__).parents[1] / "unit/data/picture.json"


def squares(moment: Moment) -> list[Square]:
    """Return the squares of a moment; instead of its frame number, each has the number of the frame's first page."""
    first: dict[int, int] = {}
    for square in moment.squares:
        first.setdefault(square.pfn, square.page + 1)
    return [replace(square, pfn=first[square.pfn]) for square in moment.squares]


def test_a_picture_is_taken() -> None:
    ksm = KsmSysfs.find()
    plan = Plan(FEWEST_PAGES)
    before, after, at_last = take(plan, ksm).moments
    assert before.frames == plan.npages
    assert not before.shared
    assert after.frames == plan.npages - plan.pages_shared
    assert {square.pfn for square in after.squares if square.kernel} == after.shared
    assert at_last.frames == after.frames + len(plan.written())
    assert [square.page for square in at_last.squares if square.written] == sorted(plan.written())
    assert ksm.pages_shared == 0


def test_stored_picture_shows_what_a_new_picture_shows() -> None:
    """If it does not, run: make images."""
    stored = Picture.read(STORED)
    new = take(Plan(len(stored.moments[0].squares)), KsmSysfs.find())
    for old_moment, new_moment in zip(stored.moments, new.moments, strict=True):
        assert squares(old_moment) == squares(new_moment)


def test_events_of_some_pages_are_kept_apart(scanning: KsmSysfs) -> None:
    outside = trace.TRACING / "events/devksm/enable"
    with trace.instance() as made:
        with KsmDevice() as device, device.create_area() as area, Arena(8, huge=False) as arena:
            arena.fill(content.equal(8))
            wanted = [arena.page_address(page) for page in (2, 3, 6)]
            made.start(wanted)
            assert outside.read_text().strip() == "0"
            start = trace.now()
            area.register(arena)
            scanning.wait_until(lambda s: s.pages_shared == 7, 60, "7 pages shared")
            area.remove()
        events = made.stop()
        merges = [event for event in events if event.name == "merge"]
        assert sorted(event.number("addr") for event in merges) == wanted
        assert {event.number("addr") % PAGE_SIZE for event in events} == {0}
        assert all(start <= event.at <= trace.now() for event in events)
        assert {"pass_start", "node_dropped", "break"} <= {event.name for event in events}
    assert not made.directory.exists()


def test_an_instance_is_removed_when_its_block_fails() -> None:
    with pytest.raises(KeyError), trace.instance() as made:
        raise KeyError
    assert not made.directory.exists()
