"""The accounts have to say what the entries say."""

from books import Entry, Page, Process, replace


def new(*processes: Process, **page: bool) -> Page:
    """Map one anonymous page at address 0 of some processes."""
    made = Page(anonymous=True, **page)
    for process in processes:
        process.entries[0] = Entry(made)
        process.rss_anon += 1
        made.refs += 1
        made.mapcount += 1
    return made


def check(process: Process, *pages: Page) -> None:
    """Compare the accounts with the entries; the driver's node holds one reference to a kernel page."""
    there = [entry.page for entry in process.entries.values()]
    assert process.rss_anon == sum(page.anonymous for page in there)
    assert process.rss_file == sum(not page.anonymous for page in there)
    for page in pages:
        node = 0 if page.anonymous else 1
        assert page.refs == page.mapcount + node


def test_the_old_page_is_free_and_the_process_has_a_file_page() -> None:
    process, kernel_page = Process(), Page(anonymous=False, refs=1)
    old = new(process, in_swap=True)
    replace(process, 0, kernel_page)
    check(process, old, kernel_page)
    assert (old.refs, old.mapcount, old.in_swap) == (0, 0, False)
    assert (kernel_page.refs, kernel_page.mapcount) == (2, 1)


def test_the_entry_is_read_only_and_clean_and_keeps_soft_dirty() -> None:
    for soft_dirty in (False, True):
        process, kernel_page = Process(), Page(anonymous=False, refs=1)
        new(process)
        process.entries[0].soft_dirty = soft_dirty
        replace(process, 0, kernel_page)
        assert process.entries[0] == Entry(kernel_page, False, False, soft_dirty)


def test_a_page_that_another_process_maps_stays_and_is_dirty() -> None:
    parent, child, kernel_page = Process(), Process(), Page(anonymous=False, refs=1)
    old = new(parent, child, in_swap=True)
    replace(parent, 0, kernel_page)
    check(parent, old, kernel_page)
    check(child, old)
    assert (old.refs, old.mapcount, old.dirty, old.in_swap) == (1, 1, True, True)


def test_a_clean_entry_makes_no_page_dirty() -> None:
    parent, child, kernel_page = Process(), Process(), Page(anonymous=False, refs=1)
    old = new(parent, child)
    parent.entries[0].dirty = False
    replace(parent, 0, kernel_page)
    assert not old.dirty
