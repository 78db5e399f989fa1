"""Record a run of the demonstration for its HTML page, without changing its output on the terminal."""

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
    """A view that records all lines and passes them on to another view, and a watcher that records pages.

    This is a context manager. It writes the record at the end of the block, even if the run has failed.
    """

    def __init__(self, view: View, plan: Plan, out: Path) -> None:
        """Start to measure time.

        Args:
            view: The view to pass all lines on to.
            plan: The contents of the processes.
            out: The JSON file to write.
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
        """Return this object."""
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
        """Record the title."""
        self._title = text
        super().title(text)

    def step(self, text: str) -> None:
        """Record a step."""
        self._keep("step", text)
        super().step(text)

    def note(self, text: str) -> None:
        """Record a note."""
        self._keep("note", text)
        super().note(text)

    def check(self, name: str, found: str) -> None:
        """Record a check."""
        self._keep("check", f"{name}: {found}")
        super().check(name, found)

    def failure(self, text: str) -> None:
        """Record a failure, which is also the verdict."""
        self._keep("failure", text)
        self._verdict = text
        super().failure(text)

    def verdict(self, text: str) -> None:
        """Record the verdict."""
        self._verdict = f"{text} ({self._seconds:.1f} s)"
        super().verdict(text)

    def filled(self, workers: Sequence[Worker]) -> None:
        """Choose the pages to show, start to read the counters, and start to trace events of these pages."""
        pages = sample.pictured(self._plan)
        self._places = [
            Place(f"process {worker.pid}", worker.pid, worker.addr, pages, labels)
            for worker in workers
            for labels in (sample.labels(self._plan, worker.number),)
        ]
        self._sampler = Sampler(KsmSysfs.find(), self._start)
        # Without tracefs, the record has no events. The demonstration itself does not need them.
        with contextlib.suppress(OSError):
            made = self._open.enter_context(trace.instance())
            made.start(
                [place.address + page * PAGE_SIZE for place in self._places for page in pages]
            )
            self._instance = made

    def moment(self, title: str, *, after_write: bool = False) -> None:
        """Record the frames of the chosen pages."""
        written = sample.written(self._plan) if after_write else ()
        self._moments.append(look(title, self._places, written))
