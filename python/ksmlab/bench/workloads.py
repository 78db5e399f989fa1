"""The workloads: memory of one process, what could be saved in it, and what goes on while it is scanned.

The contents follow from a seed alone, except in the real workloads, where they follow from the installed files.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import random
import threading
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab import content, libc
from ksmlab.bench import reality
from ksmlab.closing import Closing
from ksmlab.content import EVERY_LINE, LAST_WORD, Content
from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ksmlab.bench.probe import Probe

#: Pages that are written at a time.
_CHUNK = 512
#: Of the sparse workload: one page in so many is there, and so many more are registered.
SPARSE_STRIDE = 512
SPARSE_SPAN = 16
#: One page in so many changes all the time, or is written to.
HOT = 10
#: Pages that change in a second: one CPU does not write more where there is more memory.
CHANGES = 8192
WRITERS = 2


class Memory(Closing):
    """Private anonymous memory of this process, of small pages.

    Attributes:
        address: Its first byte.
        npages: Its length in pages.
        stride: Every so manieth page is there.
        still: The number of pages, from the first on, that the workload never changes.
        possible: Frames that could be saved.
        content: What its pages are made of; None if they are copies of real ones.
    """

    def __init__(self, npages: int, stride: int = 1) -> None:
        """Map it; no page is there yet."""
        self.npages = npages
        self.stride = stride
        self.still = npages
        self.possible = 0
        self.content: Content | None = None
        self.address = libc.map_anonymous(npages * PAGE_SIZE, noreserve=True)
        libc.advise(self.address, npages * PAGE_SIZE, mmap.MADV_NOHUGEPAGE)

    @property
    def present(self) -> int:
        """Pages that are there, once it is filled."""
        return self.npages // self.stride

    def view(self, first: int = 0, count: int | None = None) -> memoryview[int]:
        """Return some pages as bytes that can be read and written."""
        length = (self.npages - first if count is None else count) * PAGE_SIZE
        kind = ctypes.c_char * length
        return memoryview(kind.from_address(self.address + first * PAGE_SIZE)).cast("B")

    def fill(self, made_of: Content, keys: array[int]) -> None:
        """Write a page for each key, and count what could be saved."""
        self.content = made_of
        step = _CHUNK if self.stride == 1 else 1
        for start in range(0, len(keys), step):
            some = keys[start : start + step]
            made_of.fill(self.view(start * self.stride, len(some)), some)
        self.possible = self.still - len(set(keys[: self.still])) if self.stride == 1 else 0

    def copy(self, data: bytes) -> None:
        """Write bytes, all of its pages, and count what could be saved."""
        self.view()[:] = data
        starts = range(0, len(data), PAGE_SIZE)
        self.possible = self.npages - len({data[at : at + PAGE_SIZE] for at in starts})

    def close(self) -> None:
        """Unmap it."""
        libc.unmap(self.address, self.npages * PAGE_SIZE)


@dataclass(frozen=True)
class Surroundings:
    """What a workload may use to keep busy.

    Attributes:
        probe: Writes fast.
        cpu: The CPU that the scanner does not run on, if there is one.
    """

    probe: Probe
    cpu: int


def _quiet(_memory: Memory, _around: Surroundings) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


@dataclass(frozen=True)
class Workload:
    """One kind of memory.

    Attributes:
        name: What it is called in data.
        title: What it is called in a report.
        make: Maps and fills memory, of so many pages, of a seed.
        busy: What goes on while it is scanned, for as long as the block takes.
        grows: Whether more of it is more of the same.
        ages: Whether the engine meets hash collisions before it is measured; see aging.py. Only this driver's hash
            index is measured then.
    """

    name: str
    title: str
    make: Callable[[int, int], Memory]
    busy: Callable[[Memory, Surroundings], AbstractContextManager[None]] = _quiet
    grows: bool = True
    ages: bool = False


def random_keys(npages: int, seed: int) -> array[int]:
    """Return keys of which hardly two are equal, in no order."""
    return array("Q", random.Random(seed).randbytes(8 * npages))


def _of_keys(
    keys: Callable[[int, int], array[int]], words: tuple[int, ...] = EVERY_LINE
) -> Callable[[int, int], Memory]:
    def make(npages: int, seed: int) -> Memory:
        memory = Memory(npages)
        memory.fill(Content(seed, words), keys(npages, seed))
        return memory

    return make


def _twice(npages: int, seed: int) -> array[int]:
    keys = random_keys((npages + 1) // 2, seed)
    return (keys + keys)[:npages]


def _hot_tenth(npages: int, seed: int) -> Memory:
    """Make pages that are there twice, and a tenth at the end that is for changing."""
    memory = Memory(npages)
    memory.still = npages - npages // HOT
    keys = _twice(memory.still, seed) + random_keys(npages // HOT, seed + 1)
    memory.fill(Content(seed), keys)
    return memory


def _sparse(npages: int, seed: int) -> Memory:
    memory = Memory(max(npages * SPARSE_SPAN, SPARSE_STRIDE), SPARSE_STRIDE)
    memory.fill(Content(seed), random_keys(memory.present, seed))
    return memory


def _real(pages: Callable[[int], bytes]) -> Callable[[int, int], Memory]:
    def make(npages: int, _seed: int) -> Memory:
        data = pages(npages)
        memory = Memory(len(data) // PAGE_SIZE)
        memory.copy(data)
        return memory

    return make


@contextlib.contextmanager
def _churn(memory: Memory, around: Surroundings) -> Iterator[None]:
    """Give the last tenth a content that it never had, again and again."""
    end = threading.Event()
    made_of = memory.content or Content()
    hot = memory.view(memory.still)
    count = memory.npages - memory.still

    def change() -> None:
        os.sched_setaffinity(0, {around.cpu})
        first = 1 << 40
        while not end.wait(count / CHANGES):
            made_of.apply(hot, content.unique(count, first))
            first += count

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _write(memory: Memory, around: Surroundings) -> AbstractContextManager[None]:
    """Have threads write to random pages of the last tenth, on the other CPU."""
    start = memory.address + memory.still * PAGE_SIZE
    return around.probe.writing(start, memory.npages - memory.still, WRITERS, around.cpu)


_ALL = (
    Workload("all_equal", "all pages equal", _of_keys(lambda n, _seed: content.equal(n))),
    Workload("each_twice", "each page twice", _of_keys(_twice)),
    Workload("unique_random", "unique, random", _of_keys(random_keys)),
    Workload("common_prefix", "unique in the last 8 bytes", _of_keys(random_keys, LAST_WORD)),
    Workload("churn", "a tenth changes all the time", _hot_tenth, _churn),
    Workload("real_python", "two Python processes", _real(reality.two_pythons), grows=False),
    Workload("real_files", "files of /usr, twice", _real(reality.files_twice), grows=False),
    Workload("sparse", "one page in 512 present", _sparse),
    Workload("writer", "a writer on the other CPU", _hot_tenth, _write),
    Workload(
        "near_duplicates",
        "unique, after many hash collisions",
        _of_keys(random_keys),
        grows=False,
        ages=True,
    ),
)
WORKLOADS = {workload.name: workload for workload in _ALL}
