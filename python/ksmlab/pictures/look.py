"""Read the page frames of pages for a picture. Page-frame numbers are visible only to root."""

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
    """Pages of one process that a picture shows.

    Attributes:
        title: The title of the pages, such as "process 135"; "" if the picture has only one arena.
        pid: The PID of the process; None for this process.
        address: The address of page 0 of the arena.
        pages: The numbers of the pages, in the order in which they are shown.
        labels: Letters for contents that several pages have, by page number.
    """

    title: str
    pid: int | None
    address: int
    pages: Sequence[int]
    labels: Mapping[int, str] = field(default_factory=dict)


def look(title: str, places: Sequence[Place], written: Collection[tuple[int, int]] = ()) -> Moment:
    """Read the frames and map counts of pages.

    Args:
        title: The title of the moment.
        places: The pages.
        written: The pages that were written to since the merge, each as the index of its place and the page number.

    Raises:
        OSError: A process has ended, or this process is not root.
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
