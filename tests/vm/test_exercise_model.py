"""The model of exercise 5 and the driver do the same with the same pages, pass by pass."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kksmd

from ksmlab import content, pagemap
from ksmlab.memory import Arena

if TYPE_CHECKING:
    from ksmlab.device import Area
    from ksmlab.sysfs import KsmSysfs

ANSWER = Path(__file__).parents[2] / "docs/lessons/exercises/05/answer/finder.py"

#: What each pass is preceded by: the new content of pages. b lies before a and d, and is new in the second pass:
#: it finds the entry of d, which has been written since it was inserted.
WRITES: tuple[dict[str, int], ...] = (
    {"c": 1, "a": 2, "d": 3},
    {"c": 2, "b": 3, "d": 5},
    {},
    {"c": 4, "d": 3},
    {},
    {"c": 2},
    {},
)


def load_model() -> Any:
    """Import the answer of exercise 5."""
    spec = importlib.util.spec_from_file_location("finder", ANSWER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_answer_of_exercise_5_predicts_what_the_hash_index_merges(
    area: Area, scanning: KsmSysfs
) -> None:
    """With index=tree new pages wait, so the model is ahead of the driver in the first pass."""
    model = load_model()
    contents: dict[str, int] = {}
    finder = model.Finder(contents.get)
    with (
        Arena(1) as other,
        Arena(2, huge=False) as first,
        Arena(2, huge=False) as second,
        scanning.settings(sleep=kksmd.LONG),
    ):
        places = {"b": (first, 0), "c": (first, 1), "a": (second, 0), "d": (second, 1)}
        # An earlier test may have left a pass half done.
        passes = scanning.full_scans
        area.register(other)
        scanning.wait_until(lambda s: s.full_scans > passes, kksmd.SECONDS, "the end of a pass")
        area.register(first)
        area.register(second)
        for number, writes in enumerate(WRITES):
            for name, key in writes.items():
                arena, page = places[name]
                arena.fill(content.equal(1, key=key), page)
                contents[name] = key
            visited = [name for name in places if name in contents]
            results = [finder.visit(name) for name in visited]
            kksmd.one_batch(scanning)
            merged = {
                name
                for name in visited
                if pagemap.entry(places[name][0].page_address(places[name][1])).file
            }
            if not kksmd.finds_by_hash():
                assert not merged
                return
            assert merged == finder.merged, f"pass {number + 1}"
            assert scanning.pages_volatile == results.count(model.Result.WAITS), number
            failed = scanning.read("skipped/changed")
            assert failed == 2 * results.count(model.Result.FAILED), number
        assert finder.merged == {"a", "b", "c", "d"}
        assert not first.verify()
        assert not second.verify()
