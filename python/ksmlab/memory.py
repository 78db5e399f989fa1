"""Arenas: anonymous memory whose content is known page by page.

An arena remembers what was written to each page, so that verify() can say which pages hold
something else. Its calls on pages take a first page and a count, both in pages.
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

#: Pages that are compared at a time: one huge page.
_CHUNK = 512
MADV_COLLAPSE = 25
MADV_PAGEOUT = 21
_ZERO_PAGE = bytes(PAGE_SIZE)


class Arena(Closing):
    """Anonymous memory of this process, and what it should hold.

    A context manager; leaving it unmaps the memory. Views that page_view() gave must not be
    used after that, nor after an unmap or a move of their pages.
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
        """Map the memory; nothing is written yet, so every page reads as zeros.

        Args:
            npages: pages.
            seed: chooses the content, see content.Content.
            words: the words of a page that hold its key.
            huge: True and False ask for and refuse transparent huge pages, and True also
                aligns the arena to 2 MiB; None leaves it to the system.
            shared: map it MAP_SHARED (such pages are never merged).

        Raises:
            OSError: no memory.
        """
        if npages < 1:
            raise ValueError("an arena has at least one page")
        self._npages = npages
        self.content = Content(seed, words)
        # Room to align, which stays part of the mapping and is never touched.
        self._room = (_CHUNK if huge else 0) * PAGE_SIZE
        self._mapping = libc.map_anonymous(self.size + self._room, shared=shared)
        self._address = self._mapping + (-self._mapping % self._room if self._room else 0)
        self._open = True
        self._keys: array[int] = unique(npages)
        # What pages hold that hold no key: zeros at first.
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
        """The key of each page; what write() changed is not in here."""
        return self._keys[:]

    def _span(self, first: int, count: int | None) -> tuple[int, int]:
        """Return the address and the length in bytes of some pages."""
        if not self._open:
            raise ValueError("the arena is closed; make a new one")
        count = self.npages - first if count is None else count
        if first < 0 or count < 1 or first + count > self.npages:
            raise IndexError(f"pages {first}+{count} are not within 0 to {self.npages}")
        return self.address + first * PAGE_SIZE, count * PAGE_SIZE

    def page_address(self, page: int) -> int:
        """Return the address of a page."""
        return self._span(page, 1)[0]

    def view(self, first: int = 0, count: int | None = None) -> memoryview[int]:
        """Return the memory of some pages as bytes that can be read and written."""
        address, length = self._span(first, count)
        array_type = ctypes.c_char * length
        return memoryview(array_type.from_address(address)).cast("B")

    def page_view(self, page: int) -> memoryview[int]:
        """Return the memory of one page; what is written through it verify() reports."""
        return self.view(page, 1)

    def fill(self, keys: array[int], first: int = 0) -> None:
        """Write whole pages.

        Args:
            keys: one a page, see content.equal(), groups(), cycle(), unique().
            first: the first page to write.
        """
        for start in range(0, len(keys), _CHUNK):
            some = keys[start : start + _CHUNK]
            self.content.fill(self.view(first + start, len(some)), some)
        self._expect(first, keys)

    def rekey(self, keys: array[int], first: int = 0) -> None:
        """Change pages that fill() wrote to other keys, by writing their key words alone."""
        self.content.apply(self.view(first, len(keys)), keys)
        self._expect(first, keys)

    def _expect(self, first: int, keys: array[int]) -> None:
        self._keys[first : first + len(keys)] = keys
        pages = range(first, first + len(keys))
        if self._other:
            for page in self._other.keys() & set(pages):
                del self._other[page]

    def write(self, page: int, data: bytes, offset: int = 0) -> None:
        """Write some bytes into a page, and expect them there from now on.

        Args:
            page: the page.
            data: what to write.
            offset: bytes from the start of the page.
        """
        if offset < 0 or offset + len(data) > PAGE_SIZE:
            raise IndexError(f"bytes {offset}+{len(data)} are not within a page")
        image = bytearray(self.expected(page))
        image[offset : offset + len(data)] = data
        self.page_view(page)[offset : offset + len(data)] = data
        self._other[page] = bytes(image)

    def expected(self, page: int) -> bytes:
        """Return what a page should hold."""
        self._span(page, 1)
        return self._other[page] if page in self._other else self.content.page(self._keys[page])

    def verify(self, first: int = 0, count: int | None = None) -> list[int]:
        """Compare some pages with what was written.

        Pages that unmap() took away are not looked at.

        Returns:
            The pages that hold something else; empty if all is well.
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
        """Make a copy of what some pages should hold, at most a chunk; return its address.

        The copy holds the template of the content from one call to the next, so that writing
        the keys is all there is to do for most pages.
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
        """Give madvise() advice (``mmap.MADV_*``) that leaves the content as it is."""
        libc.advise(*self._span(first, count), advice)

    def discard(self, first: int = 0, count: int | None = None) -> None:
        """MADV_DONTNEED: drop pages, which read as zeros from then on."""
        address, length = self._span(first, count)
        libc.advise(address, length, mmap.MADV_DONTNEED)
        self._other.update(dict.fromkeys(range(first, first + length // PAGE_SIZE), _ZERO_PAGE))

    def protect(self, prot: int, first: int = 0, count: int | None = None) -> None:
        """Change the protection of some pages to ``libc.PROT_*`` bits."""
        libc.protect(*self._span(first, count), prot)

    def lock(self, first: int = 0, count: int | None = None) -> None:
        """Lock some pages in memory."""
        libc.lock(*self._span(first, count))

    def unlock(self, first: int = 0, count: int | None = None) -> None:
        """Undo lock()."""
        libc.unlock(*self._span(first, count))

    def unmap(self, first: int, count: int) -> None:
        """Unmap some pages: a hole in the arena, which verify() passes by."""
        address, length = self._span(first, count)
        libc.unmap(address, length)
        self._gone.update(range(first, first + count))

    def move(self) -> int:
        """Move the whole arena elsewhere with mremap(), content and all.

        Raises:
            ValueError: it has holes, which mremap() does not move.

        Returns:
            The old address, where nothing is mapped now.
        """
        self._span(0, None)
        if self._gone:
            raise ValueError("an arena with holes cannot move; nothing is moved")
        old = self._address
        room = libc.map_anonymous(self.size, libc.PROT_NONE, noreserve=True)
        libc.move(old, self.size, room)
        self._leave(old)
        self._mapping, self._address, self._room = room, room, 0
        return old

    def _leave(self, end: int) -> None:
        """Unmap the room around an arena that begins at ``end``."""
        before = end - self._mapping
        after = self._room - before
        if before:
            libc.unmap(self._mapping, before)
        if after:
            libc.unmap(end + self.size, after)

    def close(self) -> None:
        """Unmap the memory; a second call does nothing."""
        if self._open:
            self._open = False
            libc.unmap(self._mapping, self.size + self._room)
