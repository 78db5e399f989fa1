"""Keep what a run of the demonstration shows, for its page; the terminal gets what it gets without."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from ksmlab.demo import sample, trace
from ksmlab.demo.record import Event, Line, RunRecord, Sample
from ksmlab.demo.view import Forward
from ksmlab.libc import PAGE_SIZE
from ksmlab.pictures.look import Place, look
from ksmlab.pictures.model import Moment, Picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ksmlab.demo.plan import Plan
    from ksmlab.demo.view import View
    from ksmlab.demo.worker import Worker
    from ksmlab.sysfs import Counters


class Watcher(Protocol):
    """Somebody who is told how far the demonstration is."""

    def filled(self, workers: Sequence[Worker]) -> None:
        """The processes have filled their memory, and nothing is registered yet."""

    def moment(self, title: str, *, after_write: bool = False) -> None:
        """Everything is as ``title`` says."""


class NoWatcher:
    """Somebody who does not care."""

    def filled(self, workers: Sequence[Worker]) -> None:
        """Do nothing."""

    def moment(self, title: str, *, after_write: bool = False) -> None:
        """Do nothing."""


class Recorder(Forward):
    """A view that passes everything on to another and keeps it; and a watcher that takes pictures.

    A context manager: leaving it writes the record, however the run has ended.
    """

    def __init__(self, view: View, plan: Plan, out: Path) -> None:
        """Start the clock.

        Args:
            view: where everything is shown.
            plan: what the processes hold.
            out: where the record goes, as JSON.
        """
        super().__init__(view)
        self._plan, self._out = plan, out
        self._start = trace.now()
        self._when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self._lines: list[Line] = []
        self._samples: list[Sample] = []
        self._moments: list[Moment] = []
        self._places: list[Place] = []
        self._title = self._verdict = ""
        self._open = contextlib.ExitStack()
        self._instance: trace.Instance | None = None

    def __enter__(self) -> Recorder:
        """Record from now on."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write the record."""
        with self._open:
            raw = self._instance.stop() if self._instance is not None else []
        events, left_out = Sorter(self._places, self._moments).sort(raw, self._start)
        picture = Picture("make demo", os.uname().release, tuple(self._moments))
        RunRecord(
            command="make demo",
            kernel=os.uname().release,
            when=self._when,
            title=self._title,
            verdict=self._verdict,
            lines=tuple(self._lines),
            samples=tuple(self._samples),
            picture=picture if self._moments else None,
            events=events,
            left_out=tuple(sorted(left_out.items())),
        ).write(self._out)

    @property
    def _seconds(self) -> float:
        return round(trace.now() - self._start, 3)

    def _keep(self, kind: str, text: str) -> None:
        self._lines.append(Line(self._seconds, kind, text))

    def title(self, text: str) -> None:
        """Keep the title."""
        self._title = text
        super().title(text)

    def step(self, text: str) -> None:
        """Keep a step."""
        self._keep("step", text)
        super().step(text)

    def note(self, text: str) -> None:
        """Keep a note."""
        self._keep("note", text)
        super().note(text)

    def check(self, name: str, found: str) -> None:
        """Keep a check."""
        self._keep("check", f"{name}: {found}")
        super().check(name, found)

    def failure(self, text: str) -> None:
        """Keep what went wrong; it is the verdict."""
        self._keep("failure", text)
        self._verdict = text
        super().failure(text)

    def verdict(self, text: str) -> None:
        """Keep the verdict."""
        self._verdict = f"{text} ({self._seconds:.1f} s)"
        super().verdict(text)

    def counters(self, counters: Counters, goal: int, seconds: float) -> None:
        """Keep the counters."""
        self._samples.append(
            Sample(
                seconds=self._seconds,
                pages_shared=counters.pages_shared,
                kernel_pages_allocated=counters.kernel_pages_allocated,
                full_scans=counters.full_scans,
                pages_volatile=counters.pages_volatile,
                skipped=sum(counters.skipped.values()),
            )
        )
        super().counters(counters, goal, seconds)

    def filled(self, workers: Sequence[Worker]) -> None:
        """Choose the pages that are shown, and start to trace what happens to them."""
        pages = sample.pictured(self._plan)
        self._places = [
            Place(f"process {worker.pid}", worker.pid, worker.addr, pages, labels)
            for worker in workers
            for labels in (sample.labels(self._plan, worker.number),)
        ]
        # Without tracefs there are no events; the demonstration itself needs none.
        with contextlib.suppress(OSError):
            made = self._open.enter_context(trace.instance())
            made.start(
                [place.address + page * PAGE_SIZE for place in self._places for page in pages]
            )
            self._instance = made

    def moment(self, title: str, *, after_write: bool = False) -> None:
        """Look at the pages."""
        written = sample.written(self._plan) if after_write else ()
        self._moments.append(look(title, self._places, written))


class Sorter:
    """Say of events whose pages they are about, and leave out those about pages that are not shown.

    Args:
        places: the pages that are shown.
        moments: what was seen of them; the first is before anything merged.
    """

    def __init__(self, places: Sequence[Place], moments: Sequence[Moment]) -> None:
        """Know the shown pages by their frames and addresses."""
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

    def owners(self, raw: Iterable[trace.RawEvent]) -> dict[str, int]:
        """Find out which process each mm is of: a merge names the frame that its page had before.

        Returns:
            Number of the process, by the mm as it is printed.
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

    def _page(self, number: int, event: trace.RawEvent) -> int:
        """Return the first shown page of a process that an event is about, -1 if there is none."""
        first, count = event.number("addr"), max(1, event.number("pages"))
        addresses = range(first, first + count * PAGE_SIZE)
        pages = (page for address, page in self._pages[number].items() if address in addresses)
        return min(pages, default=-1)

    def sort(
        self, raw: Sequence[trace.RawEvent], start: float
    ) -> tuple[tuple[Event, ...], Counter[str]]:
        """Sort all events.

        Args:
            raw: as they were recorded.
            start: of the run, as trace.now() gave it.

        Returns:
            Those that are shown, and how many of each name are left out.
        """
        owners = self.owners(raw)
        kept, left_out = [], Counter[str]()
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
            else:
                left_out[event.name] += 1
        return tuple(kept), left_out
