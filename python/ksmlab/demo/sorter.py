"""Assign the driver's events to the processes and pages that the HTML page shows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ksmlab.demo.record import Event
from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ksmlab.demo.trace import RawEvent
    from ksmlab.pictures.look import Place
    from ksmlab.pictures.model import Moment


class Sorter:
    """Assigns events to processes, and omits events about pages that are not shown.

    Args:
        places: The pages that are shown.
        moments: The states of these pages; the first precedes the merge.
    """

    def __init__(self, places: Sequence[Place], moments: Sequence[Moment]) -> None:
        self._pages = [
            {place.address + page * PAGE_SIZE: page for page in place.pages} for place in places
        ]
        self._titles = [place.title for place in places]
        self._first = [
            {square.page: square.pfn for square in strip.squares}
            for strip in (moments[0].strips if moments else ())
        ]
        self._kernel_pages = {
            square.pfn for moment in moments for square in moment.squares if square.kernel
        }

    def owners(self, raw: Iterable[RawEvent]) -> dict[str, int]:
        """Find the process of each mm, by the merge events, which name the previous frame of a page.

        Returns:
            The number of the process, by the mm as it is printed.
        """
        votes: Counter[tuple[str, int]] = Counter()
        for event in raw:
            if event.name == "merge":
                address, pfn = event.number("addr"), event.number("pfn")
                for number, first in enumerate(self._first):
                    page = self._pages[number].get(address, -1)
                    if first.get(page) == pfn:
                        votes[event.word("mm"), number] += 1
        return {mm: number for (mm, number), _ in reversed(votes.most_common())}

    def _page(self, number: int, event: RawEvent) -> int:
        """Return the number of the first shown page of a process that an event concerns; -1 if there is none."""
        first, count = event.number("addr"), max(1, event.number("pages"))
        addresses = range(first, first + count * PAGE_SIZE)
        pages = (page for address, page in self._pages[number].items() if address in addresses)
        return min(pages, default=-1)

    def sort(self, raw: Sequence[RawEvent], start: float) -> tuple[Event, ...]:
        """Assign all events.

        Args:
            raw: The recorded events.
            start: The start of the run, as given by trace.now().

        Returns:
            The events to show, without those about pages that are not shown.
        """
        owners = self.owners(raw)
        kept = []
        for event in raw:
            number = owners.get(event.word("mm"), -1)
            page = self._page(number, event) if number >= 0 else -1
            shown = (
                event.number("kernel_pfn") in self._kernel_pages
                if event.name == "node_dropped"
                else page >= 0 or not event.word("mm")
            )
            if shown:
                who = self._titles[number] if number >= 0 else ""
                at = round(event.at - start, 4)
                kept.append(Event(at, event.name, who, page, event.text))
        return tuple(kept)
