"""Look where pages are now, for a picture. Needs root, as page-frame numbers do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ksmlab import pagemap
from ksmlab.libc import PAGE_SIZE
from ksmlab.pictures.model import Moment, Square, Strip

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


@dataclass(frozen=True)
class Place:
    """Pages of one process that are looked at.

    Attributes:
        title: whose they are, "" if there is one arena alone.
        pid: the process; None is this one.
        address: of page 0 of the arena.
        pages: numbers of the pages, in the order in which they are shown.
        labels: names of contents that several pages have, by page.
    """

    title: str
    pid: int | None
    address: int
    pages: Sequence[int]
    labels: Mapping[int, str] = field(default_factory=dict)


def look(title: str, places: Sequence[Place], written: Collection[tuple[int, int]] = ()) -> Moment:
    """Read frames and map counts.

    Args:
        title: what moment it is.
        places: where to look.
        written: what was written since the merge, as number of the place and page.

    Raises:
        OSError: a process is gone, or the reader is not root.
    """
    entries = [
        [pagemap.entry(place.address + page * PAGE_SIZE, place.pid) for page in place.pages]
        for place in places
    ]
    counts = pagemap.map_counts(entry.pfn for strip in entries for entry in strip)
    strips = []
    for number, (place, strip) in enumerate(zip(places, entries, strict=True)):
        squares = (
            Square(
                page=page,
                pfn=entry.pfn,
                mapped=counts.get(entry.pfn, 0),
                kernel=entry.present and entry.file,
                label="" if (number, page) in written else place.labels.get(page, ""),
                written=(number, page) in written,
            )
            for page, entry in zip(place.pages, strip, strict=True)
        )
        strips.append(Strip(place.title, tuple(squares)))
    return Moment(title, tuple(strips))
