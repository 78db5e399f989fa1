"""The drawings of the documentation: what they are drawn from is read, not copied."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

import drawings
from drawings import address, hash_index, lock_order
from drawings.canvas import standalone
from ksmlab.lab import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", drawings.DRAWINGS)
def test_a_drawing_is_svg_with_a_title_for_day_and_night(name: str) -> None:
    root = ET.fromstring(standalone(drawings.DRAWINGS[name]()))
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title")
    assert len(root.findtext(f"{SVG}desc") or "") > 50
    assert "light-dark(" in (root.findtext(f"{SVG}style") or "")
    assert len(root.findall(f"{SVG}text")) > 5


def test_drawings_of_one_page_have_no_id_in_common() -> None:
    ids = [
        found
        for draw in drawings.DRAWINGS.values()
        for element in ET.fromstring(draw()).iter()
        if (found := element.get("id"))
    ]
    assert len(ids) == len(set(ids)) == 3 * len(drawings.DRAWINGS)


def test_the_address_is_taken_apart_as_by_the_program_of_lesson_6() -> None:
    text = (CHECKOUT / "docs/lessons/06-page-table.md").read_text()
    asked = re.search(r"^>>> way\((0x\w+)\)$", text, re.MULTILINE)
    assert asked
    assert int(asked[1], 0) == address.ADDRESS
    indexes, offset = address.parts()
    shown = dict(zip(("PGD", "PUD", "PMD", "PTE", "offset"), [*indexes, offset], strict=True))
    assert str(shown) in text


def test_an_arrow_against_the_order_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_order, "ARROWS", (("ksm_lock", "ksm_run_lock"),))
    with pytest.raises(lock_order.LockOrderError, match="ARROWS"):
        lock_order.draw()


def test_every_arrow_is_one_that_lockdep_can_be_asked_for() -> None:
    names = {lock.name for lock in lock_order.locks()}
    assert names == lock_order.LOCKDEP_NAMES.keys()
    assert {
        name for arrow in lock_order.ARROWS for name in arrow
    } == lock_order.LOCKDEP_NAMES.keys()


def test_every_drawing_is_on_a_page() -> None:
    pages = [path.read_text() for path in (CHECKOUT / "docs").rglob("*.md")]
    for name in drawings.DRAWINGS:
        assert sum(f"images/{name}.svg)" in page for page in pages) >= 1


def test_all_are_written(tmp_path: Path) -> None:
    paths = drawings.write_all(tmp_path / "a/b")
    assert {path.stem for path in paths} == set(drawings.DRAWINGS)
    assert all(path.stat().st_size > 1000 for path in paths)


def test_the_lock_order_is_that_of_the_header() -> None:
    names = [lock.name for lock in lock_order.locks()]
    assert names[0] == "ksm_run_lock"
    assert names[-1] == "page-table lock"
    assert names.index("ksm_lock") < names.index("mm->mmap_lock")
    text = lock_order.HEADER.read_text()
    places = [text.index(f" {name}" if " " in name else name) for name in names]
    assert places == sorted(places)
    root = ET.fromstring(lock_order.draw())
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert [word for word in words if word in names] == names


def test_another_order_is_drawn_otherwise(tmp_path: Path) -> None:
    header = tmp_path / "ksm.h"
    header.write_text(
        "/*\n * Locking order, outermost first:\n *\n *\touter\t\t(a note)\n *\t  inner lock\n *\n * And so on.\n */\n"
    )
    assert lock_order.locks(header) == [
        lock_order.Lock("outer", "a note"),
        lock_order.Lock("inner lock", ""),
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
        lock_order.locks(header)
