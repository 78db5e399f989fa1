"""Read the driver's counters at regular intervals while the demonstration runs."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from ksmlab.demo import trace
from ksmlab.demo.record import Sample

if TYPE_CHECKING:
    from ksmlab.sysfs import KsmSysfs

#: The seconds between two readings. Each reading delays kksmd a little.
SAMPLE_EVERY = 0.25


class Sampler:
    """A thread that reads the counters at regular intervals.

    Attributes:
        samples: The values read so far.
    """

    def __init__(self, ksm: KsmSysfs, start: float) -> None:
        """Start the thread.

        Args:
            ksm: The driver's sysfs files.
            start: The start of the run, as given by trace.now().
        """
        self._ksm, self._start = ksm, start
        self.samples: list[Sample] = []
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        # If the driver has been unloaded, end without an error, since the demonstration itself reports it.
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
        """End the thread, and return all values."""
        self._enough.set()
        self._thread.join()
        return tuple(self.samples)
