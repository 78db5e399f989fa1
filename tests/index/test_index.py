"""Test that the indexes do what index.h documents, without sanitizer reports, and that these tests detect bugs."""

from __future__ import annotations

import os
import random
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from index_machine import DROP_WITHIN, IndexMachine
from index_program import INDEXES, KERNEL, IndexProgram, build, hexadecimal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: The examples differ in each run. The seed is printed, and INDEX_SEED repeats a run.
SETTINGS = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
#: For a planted bug, try more examples, and do not shrink the failing one.
HUNT = settings(
    SETTINGS,
    max_examples=2000,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("index") / "program")


def check(program: Path, name: str, how: settings) -> None:
    """Run examples against one implementation. They differ each time, unless INDEX_SEED is set."""
    number = int(os.environ.get("INDEX_SEED", random.randrange(1 << 32)))
    print(f"INDEX_SEED={number}")
    machine = type(f"{name.title()}Machine", (IndexMachine,), {"program": program, "name": name})
    run_state_machine_as_test(seed(number)(machine), settings=how)


def numbered(number: int) -> str:
    """Return a content that is different for each number."""
    return hexadecimal(divmod(number, 256))


@contextmanager
def an_index(program: Path, name: str, *, weak: bool = False) -> Iterator[IndexProgram]:
    """Create an index, and destroy it at the end of the block.

    Args:
        program: The program, made by build().
        name: The implementation.
        weak: Whether all contents have the same hash.
    """
    with IndexProgram(program, name) as index:
        if weak:
            index.ask("weak", 0)
        index.ask("create")
        yield index
        index.ask("destroy")
        index.finish()


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_does_what_its_model_does(program: Path, name: str) -> None:
    check(program, name, SETTINGS)


@pytest.mark.parametrize("name", INDEXES)
def test_without_memory_there_is_no_index(program: Path, name: str) -> None:
    with IndexProgram(program, name) as index:
        index.ask("fail", 1)
        assert index.ask("create").words == ("none",)
        assert index.ask("create").words == ("ok",)
        index.ask("destroy")
        index.finish()


@pytest.mark.parametrize("name", INDEXES)
def test_many_entries(program: Path, name: str) -> None:
    """Insert more entries than an example of the state machine does, in ascending and in descending order."""
    with an_index(program, name) as index:
        contents = [numbered(number) for number in range(600)]
        for number, content in enumerate(contents):
            assert index.ask("stable", number, content).page is None
        for number, content in enumerate(reversed(contents)):
            assert index.ask("unstable", 1000 + number, content).page is None
        for number, content in enumerate(contents):
            assert index.ask("find", content).page == number
            assert index.ask("unstable", 3000, content).page == 1599 - number
        assert len(index.ask("sweep", "unstable").pages) == 600
        assert len(index.ask("sweep", "stable").pages) == 600


def test_a_search_has_a_limit(program: Path) -> None:
    """If an attacker chooses contents with the same hash, searches miss entries, but do not take longer."""
    limit = 20
    with an_index(program, "hash", weak=True) as index:
        for number in range(200):
            answer = index.ask("stable", number, numbered(number))
            assert answer.asked == min(number, limit)
        missed = sum(index.ask("find", numbered(number)).page != number for number in range(200))
        assert missed == 200 - limit
        assert len(index.ask("sweep", "stable").pages) == 200


@pytest.mark.parametrize("kind", ["stable", "unstable"])
def test_a_search_drops_few_entries_after_an_exit(program: Path, kind: str) -> None:
    """Let a quarter of the pages survive the exit of a process. No search does much, and no stable entry is lost."""
    count = 2000
    chance = random.Random(1)
    with an_index(program, "tree") as index:
        for number in chance.sample(range(count), count):
            assert index.ask(kind, number, numbered(2 * number)).page is None
        living = {
            number: numbered(2 * number) for number in chance.sample(range(count), count // 4)
        }
        gone = set(range(count)) - set(living)
        for number in gone:
            index.ask("gone", number)
        dropped: list[int] = []
        for number in chance.sample(range(count), count):
            content = numbered(2 * number + 1)
            answer = index.ask(kind, count + number, content)
            assert len(answer.dropped) <= answer.asked_at_drop <= DROP_WITHIN
            dropped += answer.dropped
            if answer.words == ("none",):
                living[count + number] = content
        assert len(dropped) == len(set(dropped))
        left = gone - set(dropped)
        assert set(index.ask("walk", kind).pages) == left | set(living)
        for number in left:
            index.ask("forget", number)
        if kind == "stable":
            assert all(index.ask("find", its).page == number for number, its in living.items())
        assert set(index.ask("sweep", kind).pages) == set(living)


def test_stable_tree_refuses_an_entry_until_it_can_complete_a_search(program: Path) -> None:
    count = 1000
    with an_index(program, "tree") as index:
        for number in range(count):
            index.ask("stable", number, numbered(number))
        for number in range(count):
            index.ask("gone", number)
        content = numbered(count)
        answer = index.ask("stable", count, content)
        assert answer.words == ("again",)
        while answer.words == ("again",):
            assert len(answer.dropped) == DROP_WITHIN
            assert index.ask("find", content).page is None
            answer = index.ask("stable", count, content)
        assert answer.page is None
        assert index.ask("find", content).page == count


@pytest.mark.parametrize("kind", ["stable", "unstable"])
def test_a_table_grows_and_shrinks(program: Path, kind: str) -> None:
    """Resize a table several times in both directions, and let some allocations of larger tables fail."""
    count = 3000
    with an_index(program, "hash") as index:
        empty = index.ask("bytes").page
        for number in range(count):
            if number % 500 == 0:
                index.ask("fail", 1)
            assert index.ask(kind, number, numbered(number)).page is None
        index.ask("fail", 0)
        for number in range(0, count, 7):
            assert index.ask(kind, count, numbered(number)).page == number
        assert len(index.ask("walk", kind).pages) == count
        for number in range(count - 5):
            index.ask("forget", number)
        assert sorted(index.ask("walk", kind).pages) == list(range(count - 5, count))
        # With many empty buckets, walks would take long.
        assert index.ask("bytes").page == pytest.approx(empty, rel=0.05)
        assert len(index.ask("sweep", kind).pages) == 5


@pytest.mark.parametrize("kind", ["stable", "unstable"])
def test_a_walk_misses_no_entry(program: Path, kind: str) -> None:
    """Insert and remove entries during a walk. The table must grow and shrink only after the walk."""
    count = 3000
    with an_index(program, "hash") as index:
        empty = index.ask("bytes").page
        for number in range(1000):
            index.ask(kind, number, numbered(number))
        index.ask("begin")
        seen = [index.ask("next", kind).page for _ in range(500)]
        for number in range(1000, count):
            index.ask(kind, number, numbered(number))
        assert index.ask("bytes").page == empty
        while (page := index.ask("next", kind).page) is not None:
            seen.append(page)
        assert set(range(1000)) <= set(seen)
        assert len(seen) == len(set(seen))
        index.ask("end")
        full = index.ask("bytes").page
        assert full is not None
        assert empty is not None
        assert full > 1.5 * empty
        index.ask("begin")
        for number in range(count - 5):
            index.ask("forget", number)
        assert index.ask("bytes").page == full
        index.ask("end")
        assert index.ask("bytes").page == pytest.approx(empty, rel=0.05)
        assert sorted(index.ask("sweep", kind).pages) == list(range(count - 5, count))


@dataclass(frozen=True)
class Plant:
    """A bug to put into a copy of an implementation.

    Attributes:
        name: The name of the bug.
        file: The name of the file in kernel/.
        old: The text to replace, which occurs exactly once.
        new: The text with the bug.
    """

    name: str
    file: str
    old: str
    new: str


PLANTS = (
    Plant(
        "a page that is gone is dropped and left in",
        "index_tree.c",
        "rb_erase(&entry->rb, root);\n\t\t\t\tindex->cb->dropped(entry, kind);",
        "index->cb->dropped(entry, kind);",
    ),
    Plant(
        "the search goes on where the tree has turned",
        "index_tree.c",
        "again:\n\t*parent = NULL;\n\t*link = &root->rb_node;",
        "*parent = NULL;\n\t*link = &root->rb_node;\nagain:",
    ),
    Plant(
        "an equal page is added once more",
        "index_tree.c",
        "if (!equal)\n\t\ttree_insert(index, entry, KSM_UNSTABLE",
        "if (parent)\n\t\ttree_insert(index, entry, KSM_UNSTABLE",
    ),
    Plant(
        "a flush ends early",
        "index_tree.c",
        "return rb;\n}",
        "return false;\n}",
    ),
    Plant(
        "forget() takes it for stable",
        "index_tree.c",
        "rb_erase(&entry->rb, &index->roots[kind]);",
        "rb_erase(&entry->rb, &index->roots[kind & 0]);",
    ),
    Plant(
        "equal hashes pass for equal pages",
        "index_hash.c",
        "} else if (!order) {",
        "} else {",
    ),
    Plant(
        "a search compares only the first entry of a chain",
        "index_hash.c",
        "seen < CHAIN_LIMIT; entry = next",
        "seen < CHAIN_LIMIT; entry = seen ? NULL : next",
    ),
    Plant(
        "what is dropped stays in its chain",
        "index_hash.c",
        "table_erase(table, entry);\n\t\t\tindex->cb->dropped(entry, kind);",
        "index->cb->dropped(entry, kind);",
    ),
    Plant(
        "an entry forgets the rest of its chain",
        "index_hash.c",
        "*link = entry->next;\n\ttable->entries--;",
        "*link = NULL;\n\ttable->entries--;",
    ),
    Plant(
        "the walk ends with its first chain",
        "index_hash.c",
        "i = entry ? bucket_nr(table, hash_of(table, entry)) + 1 : 0;",
        "i = entry ? table->size : 0;",
    ),
)


def plant_into(plant: Plant, directory: Path) -> Path:
    """Build the test program from a copy of kernel/ with a bug."""
    shutil.copytree(KERNEL, directory / "kernel", ignore=shutil.ignore_patterns("*.o", "*.ko"))
    source = directory / "kernel" / plant.file
    text = source.read_text()
    assert text.count(plant.old) == 1, (
        f"{plant.file} does not contain {plant.old!r} exactly once: adapt this test"
    )
    source.write_text(text.replace(plant.old, plant.new))
    return build(directory / "program", directory / "kernel")


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name.replace(" ", "-"))
def test_a_planted_bug_is_found(plant: Plant, tmp_path: Path) -> None:
    program = plant_into(plant, tmp_path)
    (name,) = [name for name, file in INDEXES.items() if file == plant.file]
    with pytest.raises(AssertionError):
        check(program, name, HUNT)


@pytest.mark.parametrize(
    ("plant", "test"),
    [
        (
            Plant(
                "a search of the tree drops every dead entry",
                "index_tree.c",
                "if (nr <= DROP_WITHIN) {",
                "if (nr) {",
            ),
            test_a_search_drops_few_entries_after_an_exit,
        ),
        (
            Plant(
                "a search of the stable tree continues beyond a dead entry",
                "index_tree.c",
                "if (kind == KSM_STABLE) {",
                "if (kind == KSM_STABLE && !entry) {",
            ),
            test_a_search_drops_few_entries_after_an_exit,
        ),
        (
            Plant(
                "a split leaves all entries where they were",
                "index_hash.c",
                "add_chain(table, take_chain(table, i - (1UL << (fls64(i) - 1))));",
                "add_chain(table, take_chain(table, i));",
            ),
            test_a_table_grows_and_shrinks,
        ),
        (
            Plant(
                "a removal leaves the table as large as it was",
                "index_hash.c",
                "table_erase(&index->tables[kind], entry);\n\tif (!index->walked)",
                "table_erase(&index->tables[kind], entry);\n\tif (!entry)",
            ),
            test_a_table_grows_and_shrinks,
        ),
        (
            Plant(
                "a table shrinks during a walk",
                "index_hash.c",
                "table_erase(&index->tables[kind], entry);\n\tif (!index->walked)\n",
                "table_erase(&index->tables[kind], entry);\n",
            ),
            test_a_walk_misses_no_entry,
        ),
        (
            Plant(
                "a table grows during a walk",
                "index_hash.c",
                "if (!index->walked)\n\t\ttable_fit(table);",
                "table_fit(table);",
            ),
            test_a_walk_misses_no_entry,
        ),
        (
            Plant(
                "the end of a walk leaves the table as large as it was",
                "index_hash.c",
                "if (table->size == size)",
                "if (size)",
            ),
            test_a_walk_misses_no_entry,
        ),
    ],
    ids=lambda value: value.name.replace(" ", "-") if isinstance(value, Plant) else "",
)
def test_a_planted_bug_in_a_large_index_is_found(
    plant: Plant, test: Callable[[Path, str], None], tmp_path: Path
) -> None:
    """Use more entries than the state machine does: its tables are too small to grow, and its trees have few levels."""
    with pytest.raises(AssertionError):
        test(plant_into(plant, tmp_path), "stable")
