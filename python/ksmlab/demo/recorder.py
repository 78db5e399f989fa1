"""Keep what a run of the demonstration shows, for its page; the terminal gets what it gets without."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from typing import TYPE_CHECKING

from ksmlab.demo import sample, trace
from ksmlab.demo.record import Line, RunRecord
from ksmlab.demo.sampler import Sampler
from ksmlab.demo.sorter import Sorter
from ksmlab.demo.view import Forward
from ksmlab.libc import PAGE_SIZE
from ksmlab.pictures.look import Place, look
from ksmlab.pictures.model import Moment, Picture
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ksmlab.demo.plan import Plan
    from ksmlab.demo.view import View
    from ksmlab.demo.worker import Worker


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
        self._moments: list[Moment] = []
        self._places: list[Place] = []
        self._title = self._verdict = ""
        self._open = contextlib.ExitStack()
        self._sampler: Sampler | None = None
        self._instance: trace.Instance | None = None

    def __enter__(self) -> Recorder:
        """Record from now on."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write the record."""
        with self._open:
            samples = self._sampler.stop() if self._sampler is not None else ()
            raw = self._instance.stop() if self._instance is not None else []
        events = Sorter(self._places, self._moments).sort(raw, self._start)
        picture = Picture("make demo", os.uname().release, tuple(self._moments))
        RunRecord(
            command="make demo",
            kernel=os.uname().release,
            when=self._when,
            title=self._title,
            verdict=self._verdict,
            lines=tuple(self._lines),
            samples=samples,
            picture=picture if self._moments else None,
            events=events,
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

    def filled(self, workers: Sequence[Worker]) -> None:
        """Choose the pages that are shown, and start to trace what happens to them."""
        pages = sample.pictured(self._plan)
        self._places = [
            Place(f"process {worker.pid}", worker.pid, worker.addr, pages, labels)
            for worker in workers
            for labels in (sample.labels(self._plan, worker.number),)
        ]
        self._sampler = Sampler(KsmSysfs.find(), self._start)
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
