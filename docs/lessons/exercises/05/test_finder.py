"""The scan of the driver with index=hash, as a model: kernel/match.c and kernel/index_hash.c."""

from finder import Finder, Result


def test_new_pages_merge_in_the_first_pass() -> None:
    pages = {"a": b"x", "b": b"x", "c": b"y"}
    finder = Finder(pages.get)
    assert [finder.visit(name) for name in pages] == [
        Result.UNSTABLE,
        Result.MERGED,
        Result.UNSTABLE,
    ]
    assert finder.merged == {"a", "b"}


def test_third_equal_page_finds_the_kernel_page() -> None:
    pages = dict.fromkeys("abc", b"x")
    finder = Finder(pages.get)
    assert [finder.visit(name) for name in pages] == [
        Result.UNSTABLE,
        Result.MERGED,
        Result.MERGED,
    ]
    assert finder.stable == {b"x"}
    assert not finder.unstable


def test_page_that_changes_in_every_pass_waits_after_the_first() -> None:
    pages = {"a": b"0", "b": b"1"}
    finder = Finder(pages.get)
    for name in pages:
        assert finder.visit(name) is Result.UNSTABLE
    for count in range(2, 6):
        pages["a"] = pages["b"] = str(count).encode()
        assert finder.visit("a") is Result.WAITS
        assert finder.visit("b") is Result.WAITS
    assert finder.merged == set()
    assert not finder.unstable


def test_changed_page_merges_once_a_pass_finds_it_unchanged() -> None:
    pages = {"a": b"x", "b": b"y"}
    finder = Finder(pages.get)
    finder.visit("a")
    finder.visit("b")
    pages["b"] = b"x"
    assert finder.visit("b") is Result.WAITS
    assert finder.visit("b") is Result.MERGED
    assert finder.merged == {"a", "b"}


def test_written_page_is_not_merged_until_it_has_waited() -> None:
    pages = dict.fromkeys("ab", b"x")
    finder = Finder(pages.get)
    for name in pages:
        finder.visit(name)
    pages["a"] = b"z"
    assert finder.visit("a") is Result.WAITS
    assert finder.merged == {"b"}
    assert finder.visit("a") is Result.UNSTABLE
    assert finder.visit("b") is Result.MERGED


def test_stale_entry_merges_neither_page_and_leaves_the_index() -> None:
    pages = {"a": b"x", "b": b"x"}
    finder = Finder(pages.get)
    assert finder.visit("a") is Result.UNSTABLE
    pages["a"] = b"written after it was inserted"
    assert finder.visit("b") is Result.FAILED
    assert finder.merged == set()
    assert finder.stable == set()
    assert not finder.unstable
    # Both pages are looked up in later passes.
    assert [finder.visit(name) for name in pages] == [Result.WAITS, Result.UNSTABLE]
    pages["a"] = b"x"
    assert [finder.visit(name) for name in pages] == [Result.WAITS, Result.UNSTABLE]
    assert finder.visit("a") is Result.MERGED


def test_page_is_not_merged_with_itself() -> None:
    finder = Finder({"a": b"x"}.get)
    for _ in range(4):
        assert finder.visit("a") is Result.UNSTABLE
    assert finder.merged == set()
