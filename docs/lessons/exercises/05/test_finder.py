"""A model of the scan of the driver with index=hash: kernel/match.c and kernel/index_hash.c."""

from finder import Finder, Result


def check(got: list, wanted: list[Result], story: str, place: str) -> None:
    """Compare the results of visits.

    Args:
        got: what visit() returned.
        wanted: what it must return.
        story: the pages and the visits, in words.
        place: the section of the lesson that explains it.
    """
    names = ", ".join(each.name for each in wanted)
    yours = ", ".join(getattr(each, "name", str(each)) for each in got)
    assert got == wanted, f"{story} Expected: {names}. visit() returned: {yours}. See '{place}'."


def check_merged(finder: Finder, wanted: set[str], why: str) -> None:
    assert finder.merged == wanted, (
        f"{why} So `merged` must be {sorted(wanted)}; it is {sorted(finder.merged)}. See 'Two indexes'."
    )


def check_unstable(finder: Finder, why: str) -> None:
    assert not finder.unstable, f"{why} So `unstable` must be empty; it is {finder.unstable}."


def test_new_pages_merge_in_the_first_pass() -> None:
    pages = {"a": b"x", "b": b"x", "c": b"y"}
    finder = Finder(pages.get)
    check(
        [finder.visit(name) for name in pages],
        [Result.UNSTABLE, Result.MERGED, Result.UNSTABLE],
        "Pages a and b are equal, c is different, and all are new.",
        "Two indexes",
    )
    check_merged(
        finder, {"a", "b"}, "b found a in the unstable index, and a kernel page replaces both."
    )


def test_third_equal_page_finds_the_kernel_page() -> None:
    pages = dict.fromkeys("abc", b"x")
    finder = Finder(pages.get)
    check(
        [finder.visit(name) for name in pages],
        [Result.UNSTABLE, Result.MERGED, Result.MERGED],
        "Pages a, b and c are equal.",
        "Two indexes",
    )
    assert finder.stable == {b"x"}, (
        f"The kernel page of a and b must be in the stable index; `stable` is {finder.stable}. See 'Two indexes'."
    )
    check_unstable(finder, "All three pages are merged.")


def test_page_that_changes_in_every_pass_waits_after_the_first() -> None:
    pages = {"a": b"0", "b": b"1"}
    finder = Finder(pages.get)
    check(
        [finder.visit(name) for name in pages],
        [Result.UNSTABLE] * 2,
        "Two new pages without a match.",
        "Pages that keep changing",
    )
    for count in range(2, 6):
        pages["a"] = pages["b"] = str(count).encode()
        check(
            [finder.visit(name) for name in pages],
            [Result.WAITS] * 2,
            "Both pages have changed since the last visit, and are equal now.",
            "Pages that keep changing",
        )
    check_merged(finder, set(), "Volatile pages are not merged.")
    check_unstable(finder, "A page that has changed leaves the unstable index.")


def test_changed_page_merges_once_a_pass_finds_it_unchanged() -> None:
    pages = {"a": b"x", "b": b"y"}
    finder = Finder(pages.get)
    finder.visit("a")
    finder.visit("b")
    pages["b"] = b"x"
    check(
        [finder.visit("b"), finder.visit("b")],
        [Result.WAITS, Result.MERGED],
        "Page b was written and is equal to a now; then b is visited twice.",
        "Pages that keep changing",
    )
    check_merged(finder, {"a", "b"}, "The second visit found b unchanged.")


def test_written_page_is_not_merged_until_it_has_waited() -> None:
    pages = dict.fromkeys("ab", b"x")
    finder = Finder(pages.get)
    for name in pages:
        finder.visit(name)
    pages["a"] = b"z"
    story = "Pages a and b are merged, then a is written."
    check(
        [finder.visit("a")],
        [Result.WAITS],
        f"{story} The next visit of a.",
        "Pages that keep changing",
    )
    check_merged(finder, {"b"}, "Page a has its own frame after the write.")
    check(
        [finder.visit("a"), finder.visit("b")],
        [Result.UNSTABLE, Result.MERGED],
        f"{story} After its wait, a has no match; b still maps the kernel page.",
        "Pages that keep changing",
    )


def test_stale_entry_merges_neither_page_and_leaves_the_index() -> None:
    pages = {"a": b"x", "b": b"x"}
    finder = Finder(pages.get)
    finder.visit("a")
    pages["a"] = b"written after it was inserted"
    story = "Page a was inserted into the unstable index, and then written. Page b has the old content of a."
    place = "Why a wrong index does no harm"
    check(
        [finder.visit("b")],
        [Result.FAILED],
        f"{story} The visit of b finds the old entry of a.",
        place,
    )
    check_merged(finder, set(), "The comparison before the merge finds that a has changed.")
    assert finder.stable == set(), (
        f"Nothing was merged, so there is no kernel page; `stable` is {finder.stable}. Read the other page again "
        "before "
        "you change `stable`."
    )
    check_unstable(
        finder, "The wrong entry leaves the index, and the visited page is not inserted."
    )
    check(
        [finder.visit(name) for name in pages],
        [Result.WAITS, Result.UNSTABLE],
        f"{story} After the failed merge, a new pass visits a and b.",
        place,
    )
    pages["a"] = b"x"
    check(
        [finder.visit(name) for name in pages],
        [Result.WAITS, Result.UNSTABLE],
        "Page a is written again, and now equal to b, which is in the index. A pass visits a and b.",
        place,
    )
    check([finder.visit("a")], [Result.MERGED], "Page a is unchanged now, and equal to b.", place)


def test_page_is_not_merged_with_itself() -> None:
    finder = Finder({"a": b"x"}.get)
    check(
        [finder.visit("a") for _ in range(4)],
        [Result.UNSTABLE] * 4,
        "There is only one page. Four passes visit it, and it finds its own entry.",
        "Two indexes",
    )
    check_merged(finder, set(), "A page alone has no match.")
