"""Read the counters over and over while the demonstration runs."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from ksmlab.demo import trace
from ksmlab.demo.record import Sample

if TYPE_CHECKING:
    from ksmlab.sysfs import KsmSysfs

#: Seconds between two looks at the counters; each costs kksmd a little.
SAMPLE_EVERY = 0.25


class Sampler:
    """Reads the counters again and again, on a thread of its own."""

    def __init__(self, ksm: KsmSysfs, start: float) -> None:
        """Begin.

        Args:
            ksm: the driver.
            start: of the run, as trace.now() gave it.
        """
        self._ksm, self._start = ksm, start
        #: What was read so far.
        self.samples: list[Sample] = []
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        # A driver that is gone ends the samples; the demonstration itself says so.
        with contextlib.suppress(OSError):
            self._read_on()

    def _read_on(self) -> None:
        while True:
            self.samples.append(
                Sample(
                    seconds=round(trace.now() - self._start, 3),
                    pages_shared=self._ksm.pages_shared,
                    kernel_pages_allocated=self._ksm.kernel_pages_allocated,
                    full_scans=self._ksm.full_scans,
                    pages_volatile=self._ksm.pages_volatile,
                )
            )
            if self._enough.wait(SAMPLE_EVERY):
                return

    def stop(self) -> tuple[Sample, ...]:
        """End, and return what was read."""
        self._enough.set()
        self._thread.join()
        return tuple(self.samples)
