"""The workloads: the memory of a process, the number of frames that can be saved in it, and concurrent activity.

The contents depend only on a seed, except in the real workloads, where they depend on the installed files.
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

#: The number of pages that are written at a time.
_CHUNK = 512
#: The sparse workload registers SPARSE_SPAN times as many pages as others, and one in SPARSE_STRIDE is present.
SPARSE_STRIDE = 512
SPARSE_SPAN = 16
#: One page in HOT changes all the time, or is written to.
HOT = 10
#: The number of pages that change per second. It does not depend on the size of the memory.
CHANGES = 8192
WRITERS = 2


class Memory(Closing):
    """Private anonymous memory of this process, without huge pages.

    Attributes:
        address: The address of its first byte.
        npages: Its length in pages.
        stride: Pages whose number is a multiple of this are present; the others are not.
        still: The number of pages, from the first on, that the workload never changes.
        possible: The number of frames that could be saved.
        content: The generator of its contents; None if they are copies of real pages.
    """

    def __init__(self, npages: int, stride: int = 1) -> None:
        """Map the memory. No page is present yet."""
        self.npages = npages
        self.stride = stride
        self.still = npages
        self.possible = 0
        self.content: Content | None = None
        self.address = libc.map_anonymous(npages * PAGE_SIZE, noreserve=True)
        libc.advise(self.address, npages * PAGE_SIZE, mmap.MADV_NOHUGEPAGE)

    @property
    def present(self) -> int:
        """The number of pages that are present after the memory has been filled."""
        return self.npages // self.stride

    def view(self, first: int = 0, count: int | None = None) -> memoryview[int]:
        """Return pages as writable bytes.

        Args:
            first: The number of the first page.
            count: The number of pages; by default all up to the end.
        """
        length = (self.npages - first if count is None else count) * PAGE_SIZE
        kind = ctypes.c_char * length
        return memoryview(kind.from_address(self.address + first * PAGE_SIZE)).cast("B")

    def fill(self, made_of: Content, keys: array[int]) -> None:
        """Write a page for each key, and set `possible`.

        Args:
            made_of: The generator of the contents.
            keys: The keys of the pages.
        """
        self.content = made_of
        step = _CHUNK if self.stride == 1 else 1
        for start in range(0, len(keys), step):
            some = keys[start : start + step]
            made_of.fill(self.view(start * self.stride, len(some)), some)
        self.possible = self.still - len(set(keys[: self.still])) if self.stride == 1 else 0

    def copy(self, data: bytes) -> None:
        """Write the contents of all pages, and set `possible`."""
        self.view()[:] = data
        starts = range(0, len(data), PAGE_SIZE)
        self.possible = self.npages - len({data[at : at + PAGE_SIZE] for at in starts})

    def close(self) -> None:
        """Unmap the memory."""
        libc.unmap(self.address, self.npages * PAGE_SIZE)


@dataclass(frozen=True)
class Surroundings:
    """The means of a workload for its concurrent activity.

    Attributes:
        probe: Writes to pages at the speed of C.
        cpu: A CPU on which the scanner does not run, if the VM has more than one.
    """

    probe: Probe
    cpu: int


def _quiet(_memory: Memory, _around: Surroundings) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


@dataclass(frozen=True)
class Workload:
    """One workload.

    Attributes:
        name: Its name in stored data.
        title: Its name in reports.
        make: Maps and fills the memory; its arguments are the number of pages and the seed.
        busy: A context manager that runs the concurrent activity.
        grows: Whether the workload is also measured with more memory.
        ages: Whether hash collisions precede the measurement; see aging.py. Only this driver's hash index is measured
            then.
    """

    name: str
    title: str
    make: Callable[[int, int], Memory]
    busy: Callable[[Memory, Surroundings], AbstractContextManager[None]] = _quiet
    grows: bool = True
    ages: bool = False


def random_keys(npages: int, seed: int) -> array[int]:
    """Return random keys. Two of them are equal only with a negligible probability."""
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
    """Create memory in which each page exists twice, except for a last tenth that the workload changes."""
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
    """Fill the last tenth with new contents repeatedly during the block."""
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
    """Return a context manager during which threads on another CPU write to random pages of the last tenth."""
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
