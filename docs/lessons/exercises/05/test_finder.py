"""What a finder has to do."""

from finder import Finder, Result


def test_equal_pages_merge_in_the_second_pass() -> None:
    pages = {"a": b"x", "b": b"x", "c": b"y"}
    finder = Finder(pages.get)
    assert [finder.visit(name) for name in pages] == [Result.WAITS] * 3
    assert [finder.visit(name) for name in pages] == [
        Result.UNSTABLE,
        Result.MERGED,
        Result.UNSTABLE,
    ]
    assert finder.merged == {"a", "b"}


def test_the_third_finds_the_kernel_page() -> None:
    pages = dict.fromkeys("abc", b"x")
    finder = Finder(pages.get)
    for _ in range(2):
        last = [finder.visit(name) for name in pages]
    assert last == [Result.UNSTABLE, Result.MERGED, Result.MERGED]
    assert finder.stable == {b"x"}
    assert not finder.unstable


def test_a_page_that_changes_waits() -> None:
    pages = {"a": b"0", "b": b"0"}
    finder = Finder(pages.get)
    for count in range(5):
        pages["a"] = pages["b"] = str(count).encode()
        assert finder.visit("a") is Result.WAITS
        assert finder.visit("b") is Result.WAITS


def test_an_unstable_entry_that_lies_merges_nothing() -> None:
    pages = {"a": b"x", "b": b"x"}
    finder = Finder(pages.get)
    finder.visit("a")
    finder.visit("b")
    assert finder.visit("a") is Result.UNSTABLE
    pages["a"] = b"written meanwhile"
    assert finder.visit("b") is Result.UNSTABLE
    assert finder.merged == set()


def test_a_page_is_not_merged_with_itself() -> None:
    finder = Finder({"a": b"x"}.get)
    for _ in range(4):
        assert finder.visit("a") in (Result.WAITS, Result.UNSTABLE)
    assert finder.merged == set()
