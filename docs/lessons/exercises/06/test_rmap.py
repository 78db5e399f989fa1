"""The reverse mapping finds all entries of anonymous pages, and none of a page that is not anonymous."""

from __future__ import annotations

import random

import pytest
from rmap import PAGE_SIZE, AnonVma, Page, Process, Vma, find_entries, unmap

START, PAGES = 0x7F00_0000_0000, 8


def enter(process: Process, address: int, page: Page) -> None:
    """Map a page, in place of the page that is mapped there."""
    if old := process.table.get(address):
        old.mapcount -= 1
    process.table[address] = page
    page.mapcount += 1


@pytest.fixture
def parent() -> Vma:
    """Return a VMA of a process in which all pages are anonymous and mapped."""
    vma = Vma(Process("parent"), START, START + PAGES * PAGE_SIZE, START // PAGE_SIZE)
    anon_vma = AnonVma([vma])
    for address in range(vma.start, vma.end, PAGE_SIZE):
        enter(vma.process, address, Page(anon_vma, address // PAGE_SIZE))
    return vma


def fork(vma: Vma, name: str = "child") -> Vma:
    """Return the VMA of a child that shares all pages."""
    child = Vma(Process(name), vma.start, vma.end, vma.pgoff)
    anon_vma = next(iter(vma.process.table.values())).mapping
    assert anon_vma
    anon_vma.vmas.append(child)
    for address in range(vma.start, vma.end, PAGE_SIZE):
        enter(child.process, address, vma.process.table[address])
    return child


def test_page_of_one_process_has_one_entry(parent: Vma) -> None:
    address = START + 3 * PAGE_SIZE
    assert find_entries(parent.process.table[address]) == [(parent.process, address)]


def test_page_is_found_in_parent_and_child(parent: Vma) -> None:
    child = fork(parent)
    page = parent.process.table[START]
    assert find_entries(page) == [(parent.process, START), (child.process, START)]


def test_copy_of_a_child_is_not_the_page(parent: Vma) -> None:
    child = fork(parent)
    page = parent.process.table[START]
    assert page.mapping
    enter(child.process, START, Page(page.mapping, page.index))
    assert find_entries(page) == [(parent.process, START)]
    assert find_entries(child.process.table[START]) == [(child.process, START)]


def test_empty_entry_is_not_found(parent: Vma) -> None:
    child = fork(parent)
    page = child.process.table.pop(START)
    assert find_entries(page) == [(parent.process, START)]


def test_vma_that_mremap_has_moved_keeps_the_index(parent: Vma) -> None:
    away = 100 * PAGE_SIZE
    parent.process.table = {at + away: page for at, page in parent.process.table.items()}
    parent.start += away
    parent.end += away
    address = parent.start + 5 * PAGE_SIZE
    assert find_entries(parent.process.table[address]) == [(parent.process, address)]


def test_both_parts_of_a_split_vma_are_searched(parent: Vma) -> None:
    middle = START + 3 * PAGE_SIZE
    page = parent.process.table[middle]
    assert page.mapping
    upper = Vma(parent.process, middle, parent.end, parent.pgoff + 3)
    parent.end = middle
    page.mapping.vmas.append(upper)
    for address, each in parent.process.table.items():
        assert find_entries(each) == [(parent.process, address)]


def test_address_outside_the_vma_is_not_the_page(parent: Vma) -> None:
    """A VMA that became shorter must not be searched after its end, even if the page is mapped there."""
    child = fork(parent)
    child.end -= PAGE_SIZE
    page = parent.process.table[child.end]
    assert find_entries(page) == [(parent.process, child.end)]


def test_unmap_removes_all_entries(parent: Vma) -> None:
    children = [fork(parent, f"child {number}") for number in range(3)]
    page = parent.process.table[START]
    assert unmap(page)
    assert page.mapcount == 0
    for vma in (parent, *children):
        assert START not in vma.process.table
        assert START + PAGE_SIZE in vma.process.table


def test_kernel_page_has_entries_that_are_not_found(parent: Vma) -> None:
    kernel_page = Page(None, 0)
    for address in list(parent.process.table):
        enter(parent.process, address, kernel_page)
    assert find_entries(kernel_page) == []
    assert not unmap(kernel_page)
    assert kernel_page.mapcount == PAGES
    assert list(parent.process.table.values()) == PAGES * [kernel_page]


def test_every_entry_is_found_after_random_steps(parent: Vma) -> None:
    chance = random.Random(6)
    vmas = [parent]
    for step in range(200):
        vma = chance.choice(vmas)
        address = chance.randrange(vma.start, vma.end, PAGE_SIZE)
        page = vma.process.table[address]
        assert page.mapping
        if len(vmas) < 6 and step % 9 == 0:
            vmas.append(fork(vma, f"process {len(vmas)}"))
        else:
            enter(vma.process, address, Page(page.mapping, page.index))
        for page in {each for one in vmas for each in one.process.table.values()}:
            entries = [
                (one.process, at)
                for one in vmas
                for at, each in one.process.table.items()
                if each is page
            ]
            assert find_entries(page) == entries
            assert len(entries) == page.mapcount
