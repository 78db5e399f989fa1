"""The accounts must agree with the page-table entries."""

from __future__ import annotations

import ctypes
from pathlib import Path

library = ctypes.CDLL(str(Path(__file__).parent / "accounts.so"))


class Page(ctypes.Structure):
    """`struct page` of accounts.c."""

    _fields_ = (
        ("refs", ctypes.c_int),
        ("mapcount", ctypes.c_int),
        ("anonymous", ctypes.c_bool),
        ("dirty", ctypes.c_bool),
        ("in_swap", ctypes.c_bool),
    )


class Pte(ctypes.Structure):
    """`struct pte` of accounts.c."""

    _fields_ = (
        ("page", ctypes.POINTER(Page)),
        ("writable", ctypes.c_bool),
        ("dirty", ctypes.c_bool),
        ("soft_dirty", ctypes.c_bool),
    )


class Rss(ctypes.Structure):
    """`struct process` of accounts.c."""

    _fields_ = (("anon", ctypes.c_long), ("file", ctypes.c_long))


class Process:
    """A process that maps one page. Other processes can map the same page."""

    def __init__(self, page: Page, *, soft_dirty: bool = False, dirty: bool = True) -> None:
        """Map the page."""
        self.rss, self.page = Rss(1, 0), page
        self.pte = Pte(ctypes.pointer(page), True, dirty, soft_dirty)
        page.refs += 1
        page.mapcount += 1

    def replace(self, kernel_page: Page) -> None:
        """Replace the page by the kernel page, with the function of accounts.c."""
        arguments = (self.rss, self.pte, kernel_page)
        library.replace(*(ctypes.byref(each) for each in arguments))

    def maps(self, page: Page) -> bool:
        """Return whether the entry maps a page."""
        return ctypes.addressof(self.pte.page.contents) == ctypes.addressof(page)

    def check_rss(self, name: str) -> None:
        """Compare the rss with the entry."""
        anonymous = self.pte.page.contents.anonymous
        kind = "an anonymous page" if anonymous else "the kernel page, which counts as a file page"
        wanted = (int(anonymous), int(not anonymous))
        assert (self.rss.anon, self.rss.file) == wanted, (
            f"{name} maps one page, {kind}. So rss_anon must be {wanted[0]} and rss_file {wanted[1]}; they are "
            f"{self.rss.anon} and {self.rss.file}. See 'The accounts of a page'."
        )


def check_counts(page: Page, name: str, refs: int, mapcount: int, why: str) -> None:
    """Compare the counts of a page with what they must be."""
    assert (page.refs, page.mapcount) == (refs, mapcount), (
        f"{why} So in the {name}, `refs` must be {refs} and `mapcount` {mapcount}; they are {page.refs} and "
        f"{page.mapcount}. See 'The accounts of a page'."
    )


def kernel_page() -> Page:
    """Return a kernel page. The merge job holds one reference, which it drops later."""
    return Page(refs=1)


def check_maps(process: Process, page: Page) -> None:
    assert process.maps(page), (
        "After replace(), the entry must map the kernel page; it maps another page. See 'The helper'."
    )


def test_old_page_is_free_and_process_has_a_file_page() -> None:
    old, new = Page(anonymous=True, in_swap=True), kernel_page()
    process = Process(old)
    process.replace(new)
    check_maps(process, new)
    process.check_rss("The process")
    check_counts(old, "old page", 0, 0, "No entry maps the old page any more.")
    check_counts(new, "kernel page", 2, 1, "The merge job and one entry hold the kernel page.")
    assert not old.in_swap, (
        "No entry maps the old page any more, so its swap slot must be freed: `in_swap` must be false. See 'The "
        "accounts "
        "of a page'."
    )


def test_new_entry_is_read_only_and_clean_and_keeps_soft_dirty() -> None:
    for soft_dirty in (False, True):
        process = Process(Page(anonymous=True), soft_dirty=soft_dirty)
        new = kernel_page()
        process.replace(new)
        check_maps(process, new)
        pte = process.pte
        assert not pte.writable, (
            "The new entry must be read-only, or the process could write to the kernel page."
        )
        assert not pte.dirty, (
            "The new entry must be clean: the process has not written to the kernel page."
        )
        assert pte.soft_dirty == soft_dirty, (
            f"The content has not changed, so the new entry keeps the soft-dirty bit, {soft_dirty}; it is "
            f"{pte.soft_dirty}. See 'The helper'."
        )


def test_page_that_another_process_maps_stays_and_is_dirty() -> None:
    old, new = Page(anonymous=True, in_swap=True), kernel_page()
    parent, child = Process(old), Process(old)
    parent.replace(new)
    parent.check_rss("The parent")
    child.check_rss("The child")
    check_maps(parent, new)
    assert child.maps(old), "The entry of the child must not change; it still maps the old page."
    check_counts(old, "old page", 1, 1, "The child still maps the old page.")
    assert old.dirty, (
        "The dirty bit was only in the parent's entry, and the child still uses the page: mark the page dirty. "
        "See 'The "
        "helper'."
    )
    assert old.in_swap, "The child still maps the old page, so its swap slot must be kept."


def test_two_processes_share_the_kernel_page() -> None:
    new = kernel_page()
    for number, entries in ((1, "one entry"), (2, "two entries")):
        process = Process(Page(anonymous=True))
        process.replace(new)
        process.check_rss("The process")
        check_counts(
            new,
            "kernel page",
            number + 1,
            number,
            f"The merge job and {entries} hold the kernel page.",
        )
        assert not new.anonymous, (
            "The kernel page counts as a file page: `anonymous` must stay false."
        )


def test_clean_entry_makes_no_page_dirty() -> None:
    old = Page(anonymous=True)
    parent, _child = Process(old, dirty=False), Process(old)
    parent.replace(kernel_page())
    check_counts(old, "old page", 1, 1, "The child still maps the old page.")
    assert not old.dirty, "The old entry was clean, so the old page must not be marked dirty."
