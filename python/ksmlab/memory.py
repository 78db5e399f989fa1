"""Anonymous memory whose expected content is known, so that tests can verify it.

An arena records what was written to each page, and verify() finds the pages that have another content. Methods for
several pages take the number of the first page and the number of pages.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING

from ksmlab import libc
from ksmlab.closing import Closing
from ksmlab.content import EVERY_LINE, Content, unique
from ksmlab.libc import PAGE_SIZE

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

#: The number of pages that are compared at a time: those of one huge page.
_CHUNK = 512
MADV_COLLAPSE = 25
MADV_PAGEOUT = 21
_ZERO_PAGE = bytes(PAGE_SIZE)


class Arena(Closing):
    """Anonymous memory of this process, with its expected content.

    An arena is a context manager: the memory is unmapped at the end of the block. Views of pages must not be used after
    the pages have been unmapped or moved.
    """

    def __init__(
        self,
        npages: int,
        seed: int = 0,
        words: Sequence[int] = EVERY_LINE,
        *,
        huge: bool | None = None,
        shared: bool = False,
    ) -> None:
        """Map the memory. Nothing is written to it yet, so all pages read as zeros.

        Args:
            npages: The number of pages.
            seed: The seed of the content, see `content.Content`.
            words: The words of a page that contain its key.
            huge: True to enable transparent huge pages and align the arena to 2 MiB, False to disable them, None for
                the system's default.
            shared: Whether to map the memory with MAP_SHARED. The driver does not merge such pages.

        Raises:
            OSError: The kernel has no memory.
            ValueError: The number of pages is less than 1.
        """
        if npages < 1:
            raise ValueError(f"an arena must have at least one page, not {npages}")
        self._npages = npages
        self.content = Content(seed, words)
        # Additional memory for the alignment, which is part of the mapping, but never accessed.
        self._room = (_CHUNK if huge else 0) * PAGE_SIZE
        self._mapping = libc.map_anonymous(self.size + self._room, shared=shared)
        self._address = self._mapping + (-self._mapping % self._room if self._room else 0)
        self._open = True
        self._keys: array[int] = unique(npages)
        # The expected content of pages without a key. All pages are zero at first.
        self._other: dict[int, bytes] = dict.fromkeys(range(npages), _ZERO_PAGE)
        self._gone: set[int] = set()
        self._copy: bytearray | None = None
        self._foreign: list[int] = []
        if huge is not None:
            self.advise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)

    @property
    def address(self) -> int:
        """The address of the first byte."""
        return self._address

    @property
    def npages(self) -> int:
        """The length in pages."""
        return self._npages

    @property
    def size(self) -> int:
        """The length in bytes."""
        return self._npages * PAGE_SIZE

    @property
    def keys(self) -> array[int]:
        """A copy of the keys of all pages. Changes by write() are not part of it."""
        return self._keys[:]

    def _span(self, first: int, count: int | None) -> tuple[int, int]:
        """Return the address of some pages, and their length in bytes."""
        if not self._open:
            raise ValueError("the arena is closed. Next: create another one")
        count = self.npages - first if count is None else count
        if first < 0 or count < 1 or first + count > self.npages:
            raise IndexError(
                f"{count} pages from page {first} on are outside of the arena, which has {self.npages} pages"
            )
        return self.address + first * PAGE_SIZE, count * PAGE_SIZE

    def page_address(self, page: int) -> int:
        """Return the address of a page."""
        return self._span(page, 1)[0]

    def view(self, first: int = 0, count: int | None = None) -> memoryview[int]:
        """Return the memory of some pages as writable bytes."""
        address, length = self._span(first, count)
        array_type = ctypes.c_char * length
        return memoryview(array_type.from_address(address)).cast("B")

    def page_view(self, page: int) -> memoryview[int]:
        """Return the memory of one page as writable bytes.

        verify() reports pages that were changed by writing to this view.
        """
        return self.view(page, 1)

    def fill(self, keys: array[int], first: int = 0) -> None:
        """Write whole pages.

        Args:
            keys: The key of each page, see `content.equal`, `groups`, `cycle` and `unique`.
            first: The number of the first page to write.
        """
        for start in range(0, len(keys), _CHUNK):
            some = keys[start : start + _CHUNK]
            self.content.fill(self.view(first + start, len(some)), some)
        self._expect(first, keys)

    def rekey(self, keys: array[int], first: int = 0) -> None:
        """Change the keys of pages that fill() has written, by writing only the words with the key.

        Args:
            keys: The new key of each page.
            first: The number of the first page to change.
        """
        self.content.apply(self.view(first, len(keys)), keys)
        self._expect(first, keys)

    def _expect(self, first: int, keys: array[int]) -> None:
        self._keys[first : first + len(keys)] = keys
        pages = range(first, first + len(keys))
        if self._other:
            for page in self._other.keys() & set(pages):
                del self._other[page]

    def write(self, page: int, data: bytes, offset: int = 0) -> None:
        """Write bytes to a page, and expect them there from now on.

        Args:
            page: The number of the page.
            data: The bytes to write.
            offset: The offset of the first byte in the page.

        Raises:
            IndexError: The bytes do not fit into the page.
        """
        if offset < 0 or offset + len(data) > PAGE_SIZE:
            raise IndexError(f"{len(data)} bytes at offset {offset} do not fit into a page")
        image = bytearray(self.expected(page))
        image[offset : offset + len(data)] = data
        self.page_view(page)[offset : offset + len(data)] = data
        self._other[page] = bytes(image)

    def expected(self, page: int) -> bytes:
        """Return the expected content of a page."""
        self._span(page, 1)
        return self._other[page] if page in self._other else self.content.page(self._keys[page])

    def verify(self, first: int = 0, count: int | None = None) -> list[int]:
        """Compare pages with their expected content.

        Pages that unmap() has unmapped are skipped.

        Args:
            first: The number of the first page.
            count: The number of pages; by default all up to the end.

        Returns:
            The numbers of the pages with another content; empty if there are none.
        """
        _, length = self._span(first, count)
        end = first + length // PAGE_SIZE
        wrong: list[int] = []
        for start in range(first, end, _CHUNK):
            wrong += self._verify_chunk(start, min(start + _CHUNK, end))
        return wrong

    def _verify_chunk(self, start: int, end: int) -> list[int]:
        pages = range(start, end)
        wanted = self._image(pages)
        there = self.address + start * PAGE_SIZE
        if not self._gone and libc.same(there, wanted, len(pages) * PAGE_SIZE):
            return []
        return [
            page
            for page in pages
            if page not in self._gone
            and not libc.same(
                there + (page - start) * PAGE_SIZE, wanted + (page - start) * PAGE_SIZE, PAGE_SIZE
            )
        ]

    def _image(self, pages: range) -> int:
        """Create the expected content of at most one chunk of pages, and return its address.

        The buffer keeps the template of the content from one call to the next, so that usually only the keys have to be
        written.
        """
        if self._copy is None:
            self._copy = bytearray(_CHUNK * PAGE_SIZE)
            self.content.fill(memoryview(self._copy), self._keys[:1] * _CHUNK)
        copy, start = memoryview(self._copy), pages.start
        for page in self._foreign:
            copy[page * PAGE_SIZE : (page + 1) * PAGE_SIZE] = self.content.page(0)
        self.content.apply(copy[: len(pages) * PAGE_SIZE], self._keys[start : pages.stop])
        self._foreign = []
        for page in self._other.keys() & set(pages) if self._other else ():
            copy[(page - start) * PAGE_SIZE : (page - start + 1) * PAGE_SIZE] = self._other[page]
            self._foreign.append(page - start)
        return ctypes.addressof(ctypes.c_char.from_buffer(self._copy))

    def advise(self, advice: int, first: int = 0, count: int | None = None) -> None:
        """Call madvise() with advice (``mmap.MADV_*``) that does not change the content."""
        libc.advise(*self._span(first, count), advice)

    def discard(self, first: int = 0, count: int | None = None) -> None:
        """Discard pages with MADV_DONTNEED. They read as zeros from then on."""
        address, length = self._span(first, count)
        libc.advise(address, length, mmap.MADV_DONTNEED)
        self._other.update(dict.fromkeys(range(first, first + length // PAGE_SIZE), _ZERO_PAGE))

    def protect(self, prot: int, first: int = 0, count: int | None = None) -> None:
        """Set the protection of pages to ``libc.PROT_*`` bits."""
        libc.protect(*self._span(first, count), prot)

    def lock(self, first: int = 0, count: int | None = None) -> None:
        """Lock pages in memory with mlock()."""
        libc.lock(*self._span(first, count))

    def unlock(self, first: int = 0, count: int | None = None) -> None:
        """Unlock pages with munlock()."""
        libc.unlock(*self._span(first, count))

    def unmap(self, first: int, count: int) -> None:
        """Unmap pages. verify() skips the resulting hole."""
        address, length = self._span(first, count)
        libc.unmap(address, length)
        self._gone.update(range(first, first + count))

    def move(self) -> int:
        """Move the arena, with its content, to another address with mremap().

        Returns:
            The old address, at which nothing is mapped any more.

        Raises:
            ValueError: The arena has holes, which mremap() cannot move.
        """
        self._span(0, None)
        if self._gone:
            raise ValueError("an arena with holes cannot be moved. Nothing was changed")
        old = self._address
        room = libc.map_anonymous(self.size, libc.PROT_NONE, noreserve=True)
        libc.move(old, self.size, room)
        self._leave(old)
        self._mapping, self._address, self._room = room, room, 0
        return old

    def _leave(self, end: int) -> None:
        """Unmap the memory for alignment before and after an arena that was at the address ``end``."""
        before = end - self._mapping
        after = self._room - before
        if before:
            libc.unmap(self._mapping, before)
        if after:
            libc.unmap(end + self.size, after)

    def close(self) -> None:
        """Unmap the memory. A second call does nothing."""
        if self._open:
            self._open = False
            libc.unmap(self._mapping, self.size + self._room)
