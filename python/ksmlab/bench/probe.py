"""Python bindings of probe.c, which writes to pages and calls the driver at the speed of C."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from typing import TYPE_CHECKING

from ksmlab import abi

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The nanoseconds for which a writing thread writes, and for which it then sleeps.
BUSY_NS = 1_000_000
IDLE_NS = 3_000_000


class Probe:
    """The compiled probe.c.

    Args:
        path: The shared object.
    """

    def __init__(self, path: str) -> None:
        """Load the shared object.

        Raises:
            OSError: The shared object cannot be loaded.
        """
        self._c = ctypes.CDLL(path, use_errno=True)
        self._c.probe_register_many.restype = ctypes.c_size_t

    def write_each(self, addresses: Sequence[int]) -> list[int]:
        """Change one byte at each address, and time each write.

        Args:
            addresses: The addresses to write to.

        Returns:
            The time of each write in nanoseconds, sorted. The times include reading the clock.
        """
        count = len(addresses)
        times = (ctypes.c_uint64 * count)()
        where = (ctypes.c_void_p * count)(*addresses)
        self._c.probe_write_each(where, ctypes.c_size_t(count), times)
        return sorted(times)

    def register_many(self, areas: Sequence[int], addr: int, count: int) -> None:
        """Register regions of one page each, with one page between any two of them.

        Args:
            areas: File descriptors of areas. Each gets as many regions as the driver allows.
            addr: The address of the first region.
            count: The number of regions.

        Raises:
            OSError: The driver refused a region. The regions before it are registered.
        """
        done = self._c.probe_register_many(
            (ctypes.c_int * len(areas))(*areas),
            ctypes.c_size_t(abi.MAX_REGIONS_PER_AREA),
            ctypes.c_ulong(abi.KSM_REGISTER_MEMORY_REGION),
            ctypes.c_uint64(addr),
            ctypes.c_size_t(count),
        )
        if done != count:
            raise OSError(
                ctypes.get_errno(),
                f"the driver refused region {done} of {count}: {os.strerror(ctypes.get_errno())}. "
                "The regions before it are registered. Next: see the kernel log",
            )

    @contextlib.contextmanager
    def writing(self, addr: int, npages: int, threads: int, cpu: int) -> Iterator[None]:
        """Write to random pages during the block, from several threads.

        Args:
            addr: The address of the first page.
            npages: The number of pages.
            threads: The number of threads.
            cpu: The CPU to which the threads are bound.
        """
        stop = ctypes.c_int(0)

        def write(number: int) -> None:
            os.sched_setaffinity(0, {cpu})
            self._c.probe_write_on(
                ctypes.c_void_p(addr),
                ctypes.c_size_t(npages),
                ctypes.c_uint64(number * 2 + 1),
                ctypes.c_uint64(BUSY_NS),
                ctypes.c_uint64(IDLE_NS),
                ctypes.byref(stop),
            )

        writers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
        for writer in writers:
            writer.start()
        try:
            yield
        finally:
            stop.value = 1
            for writer in writers:
                writer.join()
