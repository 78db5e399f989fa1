"""How long a write to each of some pages takes."""

import statistics
import time

from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import Arena


def write_times(arena: Arena, pages: range) -> int:
    """Write a byte to the end of each page; return the median in nanoseconds."""
    view = arena.view()
    clock = time.perf_counter_ns
    times = []
    for page in pages:
        at = (page + 1) * PAGE_SIZE - 1
        start = clock()
        view[at] = 0
        times.append(clock() - start)
    return int(statistics.median(times))
