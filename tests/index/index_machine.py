"""A Hypothesis state machine that compares an index with a model in Python. Each rule is a call of the index.

In the stable index, a search finds an entry if and only if the index has one with this content. In the unstable index,
the same is true as long as no page has changed since the unstable index was last empty. After a page has changed,
vanished or returned, a search may miss entries. But an entry that it finds is in the index and has the searched
content at that moment. No entry is ever lost, and each can be removed.

A search drops entries only in its first comparisons, even if all entries must leave the index. A search of the tree
that has made more than DROP_WITHIN comparisons may miss an entry, and the stable tree may refuse an insertion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from index_program import Answer, IndexProgram, hexadecimal

if TYPE_CHECKING:
    from pathlib import Path

#: Few and short contents, so that many are equal or have a common prefix.
contents = st.lists(st.sampled_from([0, 1, 255]), max_size=4).map(hexadecimal)
some_contents = st.lists(contents, min_size=1, max_size=6)
picks = st.integers(min_value=0, max_value=1 << 16)
#: DROP_WITHIN in index_tree.c.
DROP_WITHIN = 16
#: The number of comparisons in which a search may drop entries: for the hash index, CHAIN_LIMIT in index_hash.c.
DROPPING = {"tree": DROP_WITHIN, "hash": 20}


@dataclass
class Page:
    """The page of an unstable entry.

    Attributes:
        content: Its content; None if the content differs each time that the index reads it.
        gone: Whether the page currently does not exist.
    """

    content: str | None
    gone: bool = False


class IndexMachine(RuleBasedStateMachine):
    """An index and its model. A subclass sets the program and the name of the implementation."""

    program: Path
    name: str

    def __init__(self) -> None:
        super().__init__()
        self.index = IndexProgram(self.program, self.name)
        self.stable: dict[str, int] = {}
        self.freed: set[int] = set()
        self.unstable: dict[int, Page] = {}
        self.ordered = True
        self.pages = 0

    @initialize(refused=st.integers(min_value=0, max_value=5), weak=st.booleans())
    def create(self, refused: int, weak: bool) -> None:
        """Create the index. If an allocation fails, there must be no index, and the next attempt must work."""
        if weak:
            # Use weak hashes, so that contents collide, but not so often that a chain exceeds the limit of a search.
            self.index.ask("weak", 5)
        self.index.ask("fail", refused)
        while self.index.ask("create").words == ("none",):
            assert refused > 0, "create() failed though there was memory"
            refused = 0
            self.index.ask("fail", 0)
        # If the failing allocation has not happened yet, it happens in a later call, which must tolerate it.

    def number(self) -> int:
        """Return a new page number."""
        self.pages += 1
        return self.pages

    def search(self, command: str, *arguments: object) -> tuple[Answer, bool]:
        """Send a command that searches, check the number of comparisons, and update the model.

        Returns:
            The answer, and whether the search cannot have missed an entry, if the tree is sorted.
        """
        answer = self.index.ask(command, *arguments)
        assert answer.asked_at_drop <= DROPPING[self.name]
        self.settle(answer)
        return answer, self.name != "tree" or answer.asked <= DROP_WITHIN

    def settle(self, answer: Answer) -> None:
        """Remove the pages that the index has dropped from the model, and check that none of them exists."""
        for page in answer.dropped:
            if page in self.freed:
                self.freed.remove(page)
                self.stable = {content: its for content, its in self.stable.items() if its != page}
            else:
                assert self.unstable.pop(page).gone, f"page {page} was dropped but still exists"
        if not self.unstable:
            self.ordered = True

    @rule(content=contents)
    def find_stable(self, content: str) -> None:
        answer, exact = self.search("find", content)
        if exact or answer.page is not None:
            assert answer.page == self.stable.get(content)

    @rule(some=some_contents)
    def insert_stable(self, some: list[str]) -> None:
        for content in some:
            page = self.number()
            answer, exact = self.search("stable", page, content)
            if answer.words == ("again",):
                assert not exact, "refused without a reason"
                continue
            assert answer.page == self.stable.get(content)
            self.stable.setdefault(content, page)

    @precondition(lambda self: set(self.stable.values()) - self.freed)
    @rule(pick=picks)
    def free_stable(self, pick: int) -> None:
        """Free a kernel page, as its last unmapping does, without a call to the index."""
        there = sorted(set(self.stable.values()) - self.freed)
        page = there[pick % len(there)]
        self.index.ask("gone", page)
        self.freed.add(page)

    @rule(some=some_contents)
    def find_or_insert_unstable(self, some: list[str]) -> None:
        for content in some:
            number = self.number()
            equal = [
                page
                for page, its in self.unstable.items()
                if its.content == content and not its.gone
            ]
            answer, exact = self.search("unstable", number, content)
            self.ordered &= exact
            found = answer.page
            if found is None:
                assert not (self.ordered and equal), f"{equal} missed"
                self.unstable[number] = Page(content)
                continue
            assert found in self.unstable, f"page {found} is not in the index"
            assert not self.unstable[found].gone
            assert self.unstable[found].content in {content, None}, "not equal"

    @precondition(lambda self: self.unstable)
    @rule(pick=picks, content=st.none() | contents)
    def write(self, pick: int, content: str | None) -> None:
        """Change the page of an entry, once or each time that the index reads it, without telling the index."""
        page = self.an_unstable(pick)
        its = self.unstable[page]
        if its.content == content:
            return
        self.ordered = False
        if content is None:
            self.index.ask("wild", page)
        # A page that changes at each read does so from then on.
        elif its.content is not None:
            self.index.ask("write", page, content)
        its.content = content if its.content is not None else None

    @precondition(lambda self: self.unstable)
    @rule(some=st.lists(picks, min_size=1, max_size=4))
    def vanish_or_come_back(self, some: list[int]) -> None:
        for pick in some:
            page = self.an_unstable(pick)
            gone = self.unstable[page].gone = not self.unstable[page].gone
            self.index.ask("gone" if gone else "back", page)

    @precondition(lambda self: self.stable or self.unstable)
    @rule()
    def exit(self) -> None:
        """Let all pages vanish, as the exit of the only process does, without a call to the index."""
        for page in {*self.stable.values()} - self.freed:
            self.index.ask("gone", page)
        self.freed = {*self.stable.values()}
        for page, its in self.unstable.items():
            its.gone = True
            self.index.ask("gone", page)

    def an_unstable(self, pick: int) -> int:
        return list(self.unstable)[pick % len(self.unstable)]

    @precondition(lambda self: self.stable or self.unstable)
    @rule(pick=picks)
    def forget(self, pick: int) -> None:
        if self.unstable and (pick % 2 or not self.stable):
            page = self.an_unstable(pick)
            del self.unstable[page]
            self.settle(self.index.ask("forget", page))
        else:
            content = list(self.stable)[pick % len(self.stable)]
            page = self.stable.pop(content)
            self.freed.discard(page)
            assert self.index.ask("forget", page).dropped == ()

    @precondition(lambda self: self.unstable and self.name != "tree")
    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        """Drop the unstable entry with the content of another one, or none if that has changed."""
        content = self.unstable[self.an_unstable(pick)].content
        if content is None:
            return
        equal = [page for page, its in self.unstable.items() if its.content == content]
        left = [page for page in self.index.ask("retry", content).dropped if page in self.unstable]
        found = [page for page in left if not self.unstable[page].gone]
        assert len(found) <= 1
        assert set(found) <= set(equal)
        assert found or not self.ordered or all(self.unstable[page].gone for page in equal)
        for page in left:
            del self.unstable[page]

    @rule(command=st.sampled_from(["begin", "end"]))
    def begin_or_end_a_walk(self, command: str) -> None:
        """Begin or end a walk, during which the tables must not shrink. nothing_is_lost() checks the entries."""
        assert self.index.ask(command).dropped == ()

    @rule(how=st.sampled_from(["flush", "sweep stable", "sweep unstable"]))
    def empty(self, how: str) -> None:
        """Remove all entries of one kind: with flush(), which only the tree has, or one by one during a walk."""
        if how == "flush" and self.name != "tree":
            how = "sweep unstable"
        answer = self.index.ask(how)
        left = answer.dropped if how == "flush" else answer.pages
        members = list(self.stable.values()) if how == "sweep stable" else list(self.unstable)
        assert sorted(left) == sorted(members)
        if how == "sweep stable":
            self.stable.clear()
            self.freed.clear()
        else:
            self.unstable.clear()
            self.ordered = True

    @invariant()
    def nothing_is_lost(self) -> None:
        if not self.pages:
            return
        assert sorted(self.index.ask("walk", "stable").pages) == sorted(self.stable.values())
        assert sorted(self.index.ask("walk", "unstable").pages) == sorted(self.unstable)

    def teardown(self) -> None:
        try:
            self.index.ask("sweep", "stable")
            self.index.ask("sweep", "unstable")
            self.index.ask("destroy")
            self.index.finish()
        finally:
            self.index.close()
