"""The accounts have to say what the entries say."""

from __future__ import annotations

import ctypes
from pathlib import Path

library = ctypes.CDLL(str(Path(__file__).parent / "books.so"))


class Page(ctypes.Structure):
    """A struct page of books.c."""

    _fields_ = (
        ("refs", ctypes.c_int),
        ("mapcount", ctypes.c_int),
        ("anonymous", ctypes.c_bool),
        ("dirty", ctypes.c_bool),
        ("in_swap", ctypes.c_bool),
    )


class Pte(ctypes.Structure):
    """A struct pte."""

    _fields_ = (
        ("page", ctypes.POINTER(Page)),
        ("writable", ctypes.c_bool),
        ("dirty", ctypes.c_bool),
        ("soft_dirty", ctypes.c_bool),
    )


class Rss(ctypes.Structure):
    """A struct process."""

    _fields_ = (("anon", ctypes.c_long), ("file", ctypes.c_long))


class Process:
    """One with one page, which others may map, too."""

    def __init__(self, page: Page, *, soft_dirty: bool = False, dirty: bool = True) -> None:
        """Map it."""
        self.rss, self.page = Rss(1, 0), page
        self.pte = Pte(ctypes.pointer(page), True, dirty, soft_dirty)
        page.refs += 1
        page.mapcount += 1

    def replace(self, kernel_page: Page) -> None:
        """Call the function that is tested."""
        arguments = (self.rss, self.pte, kernel_page)
        library.replace(*(ctypes.byref(each) for each in arguments))

    def maps(self, page: Page) -> bool:
        """Say whether its entry leads to a page."""
        return ctypes.addressof(self.pte.page.contents) == ctypes.addressof(page)

    def check(self) -> None:
        """Compare its rss with its entry."""
        anonymous = self.pte.page.contents.anonymous
        assert (self.rss.anon, self.rss.file) == (int(anonymous), int(not anonymous))


def kernel_page() -> Page:
    """Make one, with a reference of the merge job, which the job drops later."""
    return Page(refs=1)


def test_the_old_page_is_free_and_the_process_has_a_file_page() -> None:
    old, new = Page(anonymous=True, in_swap=True), kernel_page()
    process = Process(old)
    process.replace(new)
    assert process.maps(new)
    process.check()
    assert (old.refs, old.mapcount, old.in_swap) == (0, 0, False)
    assert (new.refs, new.mapcount) == (2, 1)


def test_the_entry_is_read_only_and_clean_and_keeps_soft_dirty() -> None:
    for soft_dirty in (False, True):
        process = Process(Page(anonymous=True), soft_dirty=soft_dirty)
        process.replace(kernel_page())
        pte = process.pte
        assert (pte.writable, pte.dirty, pte.soft_dirty) == (False, False, soft_dirty)


def test_a_page_that_another_process_maps_stays_and_is_dirty() -> None:
    old, new = Page(anonymous=True, in_swap=True), kernel_page()
    parent, child = Process(old), Process(old)
    parent.replace(new)
    parent.check()
    child.check()
    assert parent.maps(new)
    assert child.maps(old)
    assert (old.refs, old.mapcount, old.dirty, old.in_swap) == (1, 1, True, True)


def test_two_processes_share_the_kernel_page() -> None:
    new = kernel_page()
    for number in (1, 2):
        process = Process(Page(anonymous=True))
        process.replace(new)
        process.check()
        assert (new.refs, new.mapcount) == (number + 1, number)
        assert not new.anonymous


def test_a_clean_entry_makes_no_page_dirty() -> None:
    old = Page(anonymous=True)
    parent, _child = Process(old, dirty=False), Process(old)
    parent.replace(kernel_page())
    assert (old.refs, old.dirty) == (1, False)
