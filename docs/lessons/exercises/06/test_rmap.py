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
    assert anon_vma, "The test is wrong: fork() needs a process with anonymous pages."
    anon_vma.vmas.append(child)
    for address in range(vma.start, vma.end, PAGE_SIZE):
        enter(child.process, address, vma.process.table[address])
    return child


def check_entries(page: Page, wanted: list[tuple[Process, int]], situation: str) -> None:
    """Compare the return value of find_entries() with the entries that it must find.

    Args:
        page: the page.
        wanted: the process and the address of each entry that must be found.
        situation: the page, the entries and the reason, in words.
    """
    got = find_entries(page)
    assert got == wanted, (
        f"{situation} Expected: {words(wanted)}. find_entries() returned: {words(got)}. See 'From a page to its "
        "entries'."
    )


def words(entries: object) -> str:
    """Return entries in words; if the value is not a list of pairs, its type."""
    if not isinstance(entries, list):
        return f"a value of the type {type(entries).__name__}, not a list"
    found = []
    for entry in entries:
        match entry:
            case (Process(name=name), int(address)):
                found.append(f"{name} at {address:#x}")
            case _:
                return f"a list with a value of the type {type(entry).__name__}, not of pairs (process, address)"
    return ", ".join(found) or "no entry"


def test_page_of_one_process_has_one_entry(parent: Vma) -> None:
    address = START + 3 * PAGE_SIZE
    check_entries(
        parent.process.table[address],
        [(parent.process, address)],
        f"One process maps the page. The VMA starts at {START:#x}, and the index of the page is `pgoff` + 3.",
    )


def test_page_is_found_in_parent_and_child(parent: Vma) -> None:
    child = fork(parent)
    check_entries(
        parent.process.table[START],
        [(parent.process, START), (child.process, START)],
        "Parent and child share the page after fork(). The anon_vma of the page has the VMAs of both.",
    )


def test_copy_of_a_child_is_not_the_page(parent: Vma) -> None:
    child = fork(parent)
    page = parent.process.table[START]
    enter(child.process, START, Page(page.mapping, page.index))
    situation = (
        "The child has written to the page, and maps a copy now. Page and copy have the same anon_vma and the same "
        "index, so compare the page that each page table maps."
    )
    check_entries(page, [(parent.process, START)], f"{situation} Find the page.")
    check_entries(
        child.process.table[START], [(child.process, START)], f"{situation} Find the copy."
    )


def test_empty_entry_is_not_found(parent: Vma) -> None:
    child = fork(parent)
    page = child.process.table.pop(START)
    check_entries(
        page,
        [(parent.process, START)],
        "The page table of the child has no entry at the address of the page any more.",
    )


def test_vma_that_mremap_has_moved_keeps_the_index(parent: Vma) -> None:
    away = 100 * PAGE_SIZE
    parent.process.table = {at + away: page for at, page in parent.process.table.items()}
    parent.start += away
    parent.end += away
    address = parent.start + 5 * PAGE_SIZE
    check_entries(
        parent.process.table[address],
        [(parent.process, address)],
        f"mremap() has moved the VMA to {parent.start:#x}. `pgoff` and the index of each page stay the same; the "
        "index of this page is `pgoff` + 5.",
    )


def test_both_parts_of_a_split_vma_are_searched(parent: Vma) -> None:
    middle = START + 3 * PAGE_SIZE
    page = parent.process.table[middle]
    assert page.mapping, "The test is wrong: the page must be anonymous."
    upper = Vma(parent.process, middle, parent.end, parent.pgoff + 3)
    parent.end = middle
    page.mapping.vmas.append(upper)
    for number, (address, each) in enumerate(parent.process.table.items()):
        part = "lower" if number < 3 else "upper"
        check_entries(
            each,
            [(parent.process, address)],
            f"The VMA was split in two after 3 of its 8 pages. Only the {part} part contains page {number}, so find it "
            "once.",
        )


def test_address_outside_the_vma_is_not_the_page(parent: Vma) -> None:
    """A VMA that became shorter must not be searched after its end, even if the page is mapped there."""
    child = fork(parent)
    child.end -= PAGE_SIZE
    check_entries(
        parent.process.table[child.end],
        [(parent.process, child.end)],
        f"The VMA of the child became shorter and ends at {child.end:#x} now, before the address of the page. An "
        "address outside of the VMA does not belong to it, even if the page table maps the page there.",
    )


def test_unmap_removes_all_entries(parent: Vma) -> None:
    children = [fork(parent, f"child {number}") for number in range(3)]
    page = parent.process.table[START]
    got = unmap(page)
    for vma in (parent, *children):
        name, table = vma.process.name, vma.process.table
        assert START not in table, (
            f"unmap() must remove the entry from the page table of each process; the {name} still has it. See 'From a "
            "page to its entries'."
        )
        assert START + PAGE_SIZE in table, (
            f"unmap() must remove only the entries of this page; the next page of the {name} has lost its entry, too. "
            "See 'From a page to its entries'."
        )
    assert page.mapcount == 0, (
        "unmap() has removed four entries, and must subtract 1 from `mapcount` for each. So it must be 0; it is "
        f"{page.mapcount}. See 'The fields of a page'."
    )
    assert got, (
        "Four processes mapped the page, and unmap() has removed all four entries. So it must return true; it "
        f"returned {got!r}. See 'From a page to its entries'."
    )


def test_kernel_page_has_entries_that_are_not_found(parent: Vma) -> None:
    kernel_page = Page(None, 0)
    for address in list(parent.process.table):
        enter(parent.process, address, kernel_page)
    situation = f"{PAGES} entries map a kernel page, whose `mapping` is None."
    entries = find_entries(kernel_page)
    assert entries == [], (
        f"{situation} Without an anon_vma, the reverse mapping finds none of them. Expected: no entry. find_entries() "
        f"returned: {words(entries)}. See 'A kernel page has no reverse mapping'."
    )
    got = unmap(kernel_page)
    assert not got, (
        f"{situation} unmap() cannot find them, so the page is still mapped and unmap() must return false; it "
        f"returned {got!r}. See 'A kernel page has no reverse mapping'."
    )
    assert kernel_page.mapcount == PAGES, (
        f"{situation} unmap() removes no entry, so `mapcount` must stay {PAGES}; it is {kernel_page.mapcount}. See 'A "
        "kernel page has no reverse mapping'."
    )
    left = sum(each is kernel_page for each in parent.process.table.values())
    assert left == PAGES, (
        f"{situation} unmap() must not remove entries that the reverse mapping does not find; {left} entries are "
        "left. See 'A kernel page has no reverse mapping'."
    )


def test_every_entry_is_found_after_random_steps(parent: Vma) -> None:
    chance = random.Random(6)
    vmas = [parent]
    for step in range(200):
        vma = chance.choice(vmas)
        address = chance.randrange(vma.start, vma.end, PAGE_SIZE)
        page = vma.process.table[address]
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
            check_entries(
                page,
                entries,
                f"Processes fork and write to pages at random; a write copies the page. This is after step {step + 1}.",
            )
            assert len(entries) == page.mapcount, (
                f"find_entries() must not change the page: {len(entries)} entries map it, but its `mapcount` is "
                f"{page.mapcount}. See 'The fields of a page'."
            )
