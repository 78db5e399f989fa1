"""Pages are equal when their keys are, and only then."""

from __future__ import annotations

import pytest

from ksmlab import content
from ksmlab.content import LAST_WORD, Content
from ksmlab.libc import PAGE_SIZE


def test_patterns() -> None:
    assert list(content.equal(3, key=7)) == [7, 7, 7]
    assert list(content.groups(5, 2)) == [1, 1, 2, 2, 3]
    assert list(content.cycle(5, 2)) == [1, 2, 1, 2, 1]
    assert list(content.unique(3, first=10)) == [10, 11, 12]


def test_salts_keep_keys_apart() -> None:
    keys = content.unique(100)
    assert not set(content.salted(keys, 1)) & set(content.salted(keys, 2))
    assert list(content.salted(keys, 0)) == list(keys)


def test_a_page_follows_from_seed_and_key() -> None:
    one = Content(seed=1)
    assert one.page(5) == Content(seed=1).page(5)
    assert one.page(5) != one.page(6)
    assert one.page(5) != Content(seed=2).page(5)
    assert len(one.page(5)) == PAGE_SIZE


def test_pages_of_the_last_word_have_a_common_prefix() -> None:
    late = Content(words=LAST_WORD)
    assert late.page(1)[:-8] == late.page(2)[:-8]
    assert late.page(1) != late.page(2)


def test_fill_writes_what_page_says() -> None:
    made = Content(seed=3)
    keys = content.cycle(7, 3)
    memory = bytearray(7 * PAGE_SIZE)
    made.fill(memoryview(memory), keys)
    assert bytes(memory) == b"".join(made.page(key) for key in keys)


@pytest.mark.parametrize("words", [(), (512,), (-1,)])
def test_words_outside_a_page_are_refused(words: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="words"):
        Content(words=words)
