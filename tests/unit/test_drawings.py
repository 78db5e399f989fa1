"""The drawings of the documentation: what they are drawn from is read, not copied."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import drawings
from drawings import address, cost, hash_index, ioctl_number, lock_order, skips, write_times
from ksmlab.abi import KSM_REGISTER_MEMORY_REGION
from ksmlab.bench.kept import COUNTED, KeptError, Measured
from ksmlab.lab import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"


def image(name: str) -> ET.Element:
    return ET.fromstring((drawings.IMAGES / f"{name}.svg").read_text())


def test_no_drawing_is_stale() -> None:
    """If one is: make drawings."""
    assert drawings.stale() == []


def test_drawing_that_was_edited_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in drawings.NAMES:
        shutil.copy(drawings.IMAGES / f"{name}.svg", tmp_path)
    monkeypatch.setattr(drawings, "IMAGES", tmp_path)
    assert drawings.stale() == []
    generated, plain = tmp_path / "address.svg", tmp_path / "trees.svg"
    generated.write_text(generated.read_text().replace("254", "255"))
    plain.write_text(plain.read_text().replace("#ffffff", "#eeeeee"))
    assert sorted(drawings.stale()) == [generated, plain]


@pytest.mark.parametrize("name", drawings.NAMES)
def test_drawing_is_legible_on_a_phone_in_light_and_dark(name: str) -> None:
    root = image(name)
    assert root.get("width") == "390"
    style = root.findtext(f"{SVG}style") or ""
    assert "prefers-color-scheme: dark" in style
    sizes = {
        found[0]: int(found[1])
        for found in re.findall(r"^\.?(\w+) \{.*?(\d+)px", style, re.MULTILINE)
    }
    assert min(sizes.values()) >= 12
    classes = {one for element in root.iter() for one in (element.get("class") or "").split()}
    assert classes <= set(re.findall(r"\.(\w+) \{", style))


@pytest.mark.parametrize("name", drawings.NAMES)
def test_page_has_the_words_of_a_drawing_as_alternative_text(name: str) -> None:
    root = image(name)
    words = f"{root.findtext(f'{SVG}title')}. {root.findtext(f'{SVG}desc')}"
    assert len(words) > 100
    pages = [path.read_text() for path in (CHECKOUT / "docs").rglob("*.md")]
    found = {
        alt for page in pages for alt in re.findall(rf"!\[(.*?)\]\([./]*images/{name}\.svg\)", page)
    }
    assert found == {words}


def test_address_is_split_as_by_the_program_of_the_page_table_lesson() -> None:
    text = (CHECKOUT / "docs/lessons/07-page-table.md").read_text()
    asked = re.search(r"^>>> way\((0x\w+)\)$", text, re.MULTILINE)
    assert asked
    assert int(asked[1], 0) == address.ADDRESS
    indexes, offset = address.parts()
    shown = dict(zip(("PGD", "PUD", "PMD", "PTE", "offset"), [*indexes, offset], strict=True))
    assert str(shown) in text


def test_the_ioctl_number_has_the_fields_that_the_lesson_lists() -> None:
    page = next((CHECKOUT / "docs/lessons").glob("*-abi-by-hand.md")).read_text()
    listed = re.findall(r"^\| (\d+)-(\d+) \| .* \| (\w+) \|$", page, re.MULTILINE)
    assert [(field.high, field.low, field.value) for field in ioctl_number.FIELDS] == [
        (int(high), int(low), int(value, 0)) for high, low, value in listed
    ]
    assert f"'{KSM_REGISTER_MEMORY_REGION:#x}'" in page
    assert (
        "".join(field.bits for field in ioctl_number.FIELDS) == f"{KSM_REGISTER_MEMORY_REGION:032b}"
    )
    sizes = [field for field in ioctl_number.FIELDS if field.name == "size"]
    assert f"has {sizes[0].value} bytes" in sizes[0].meaning


def test_an_arrow_against_the_order_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_order, "ARROWS", (("ksm_lock", "ksm_run_lock"),))
    with pytest.raises(lock_order.LockOrderError, match="ARROWS"):
        lock_order.draw()


def test_every_arrow_is_one_that_lockdep_can_be_asked_for() -> None:
    names = {lock for level in lock_order.levels() for lock in level.locks}
    assert names == lock_order.LOCKDEP_NAMES.keys()
    assert {
        name for arrow in lock_order.ARROWS for name in arrow
    } == lock_order.LOCKDEP_NAMES.keys()


def test_the_lock_order_is_that_of_the_header() -> None:
    levels = lock_order.levels()
    names = [lock for level in levels for lock in level.locks]
    assert levels[0].locks == ("ksm_run_lock", "area->lock", "prune_lock")
    assert names[-1] == "page-table lock"
    assert names.index("ksm_lock") < names.index("mm->mmap_lock")
    text = lock_order.HEADER.read_text()
    places = [text.index(f" {name}" if " " in name else name) for name in names]
    assert places == sorted(places)
    root = ET.fromstring(lock_order.draw())
    words = [element.text for element in root.iter(f"{SVG}text")]
    boxes = [" | ".join(level.locks) for level in levels]
    assert [word for word in words if word in boxes] == boxes


def test_another_order_is_drawn_otherwise(tmp_path: Path) -> None:
    header = tmp_path / "ksm.h"
    header.write_text(
        "/*\n * Locking order, outermost first:\n *\n"
        " *\touter or other\t\t(a note)\n *\t  inner lock\n *\n * And so on.\n */\n"
    )
    assert lock_order.levels(header) == [
        lock_order.Level(("outer", "other"), "a note"),
        lock_order.Level(("inner lock",), ""),
    ]


def test_the_chain_limit_is_that_of_the_driver(tmp_path: Path) -> None:
    source = tmp_path / "index_hash.c"
    source.write_text("#define CHAIN_LIMIT\t7\n")
    assert hash_index.chain_limit(source) == 7
    assert f"gives up after {hash_index.chain_limit()} entries" in hash_index.draw()
    source.write_text("")
    with pytest.raises(ValueError, match="no CHAIN_LIMIT"):
        hash_index.chain_limit(source)


def test_hash_drawing_is_refused_if_a_search_does_something_else(tmp_path: Path) -> None:
    source = tmp_path / "index_hash.c"
    driver = hash_index.SOURCE.read_text()
    source.write_text(driver)
    hash_index.check_search(source)
    for line in hash_index.SEARCH:
        start = driver.index("*hash_find(")
        assert line in driver[start:]
        source.write_text(driver[:start] + driver[start:].replace(line, "something_else();", 1))
        with pytest.raises(ValueError, match="hash_find"):
            hash_index.check_search(source)
    source.write_text("/* no search at all */")
    with pytest.raises(ValueError, match="hash_find"):
        hash_index.check_search(source)


def test_the_symbols_that_are_bound_are_those_of_the_driver() -> None:
    names = {
        one.text.removesuffix("()")
        for one in image("symbol-binding").iter(f"{SVG}text")
        if one.text and "code" in (one.get("class") or "").split()
    }
    assert names == {
        "kallsyms_lookup_name",
        "page_remove_rmap",
        "ksm_sc_page_remove_rmap",
        "ksm_sym_page_remove_rmap",
    }
    kernel = CHECKOUT / "kernel"
    symbols = (kernel / "mm_symbols.c").read_text()
    assert '.symbol_name = "kallsyms_lookup_name"' in symbols
    assert "V(page_remove_rmap," in symbols
    assert "ksm_sc_##name" in symbols
    renamed = (kernel / "mm_names.h").read_text()
    assert re.search(r"#define page_remove_rmap\s+ksm_sym_page_remove_rmap\n", renamed)


def test_each_write_of_the_data_is_in_one_bar_of_the_histogram() -> None:
    times = write_times.Times.read()
    pages, rounds = len(times.fastest("merged")), len(times.rounds)
    assert len(times.fastest("private")) == pages
    assert len(times.all("private")) == len(times.all("merged")) == pages * rounds
    # What the lesson claims.
    assert max(times.fastest("private")) < min(times.fastest("merged"))
    bars = {write_times.bar(time) for time in times.all("private")}
    tallest = max(
        sum(write_times.bar(time) == one for time in times.all("private")) for one in bars
    )
    texts = [one.text for one in ET.fromstring(write_times.draw()).iter(f"{SVG}text")]
    assert str(tallest) in texts


@pytest.mark.parametrize(
    ("time", "number"), [(1, 0), (999, 17), (1000, 18), (9999, 23), (10_000, 24)]
)
def test_a_bar_is_a_sixth_of_a_factor_of_ten(time: int, number: int) -> None:
    assert write_times.bar(time) == number


def test_the_fastest_write_is_that_of_all_rounds() -> None:
    rounds = ({"private": [5, 9], "merged": [70]}, {"private": [6, 3], "merged": [60]})
    times = write_times.Times("6.1", rounds)
    assert times.fastest("private") == [5, 3]
    assert times.all("merged") == [70, 60]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kernel": "6.1"}'])
def test_no_histogram_is_drawn_from_another_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "times.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="Nothing was drawn"):
        write_times.Times.read(path)


def test_the_costs_are_those_of_the_stored_results() -> None:
    results = Measured.read(COUNTED)
    merge, full, steady = cost.pairs(results)
    wanted = next(
        one
        for one in results.verdicts
        if (one.workload, one.metric) == ("each_twice", "cpu_to_goal_ns")
    )
    assert wanted.ours is not None
    assert merge[0].ours == pytest.approx(wanted.ours / 2 / 8192)
    assert merge[0].in_kernel / merge[0].ours == pytest.approx(wanted.ratio)
    assert full[0].ours > steady[0].ours
    texts = [one.text for one in ET.fromstring(cost.draw()).iter(f"{SVG}text")]
    for pair in (*merge, *full, *steady):
        assert {cost.short(pair.ours), cost.short(pair.in_kernel)} <= set(texts)


def test_no_cost_is_drawn_from_results_that_lack_it() -> None:
    results = Measured.read(COUNTED)
    with pytest.raises(KeptError, match="has no cpu_to_goal_ns of each_twice"):
        cost.pairs(replace(results, verdicts=()))
    with pytest.raises(KeptError, match="no --size"):
        cost.pairs(replace(results, command="ksmlab bench"))


@pytest.mark.parametrize(("count", "text"), [(19.3, "19"), (660.4, "660"), (25864, "26,000")])
def test_instructions_are_written_with_two_digits(count: float, text: str) -> None:
    assert cost.short(count) == text


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("ksm.h", "\tKSM_SKIP_BUSY,", "\tKSM_SKIP_BUSY,\n\tKSM_SKIP_NEW,"),
        ("ksm.h", "\tKSM_SKIP_LIMIT,\n", ""),
        ("walk.c", "return KSM_SKIP_IO;", "return KSM_SKIP_PFNMAP;"),
        ("walk.c", "ksm_vma_refuses(", "another_name("),
    ],
)
def test_drawing_of_skipped_pages_is_refused_if_the_driver_has_other_reasons(
    tmp_path: Path, name: str, old: str, new: str
) -> None:
    for file in ("ksm.h", "walk.c"):
        shutil.copy(skips.KERNEL / file, tmp_path)
    skips.check(tmp_path)
    source = tmp_path / name
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))
    with pytest.raises(ValueError, match=f"{name}.* than GATES"):
        skips.check(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "/* nothing of the kind */\n",
        " * Locking order, outermost first:\n *\n *\ta\n *\t    b\n *\n",
        " * Locking order, outermost first:\n *\n *\ta\n *\tb\n *\n",
    ],
    ids=["none", "too deep", "not deeper"],
)
def test_what_is_no_order_is_refused(tmp_path: Path, text: str) -> None:
    header = tmp_path / "ksm.h"
    header.write_text(text)
    with pytest.raises(lock_order.LockOrderError, match="Nothing was drawn"):
        lock_order.levels(header)
