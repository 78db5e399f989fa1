"""What pages of the documentation name is there, and what they list is all that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("docs/how-to/*.md"), *ROOT.glob("docs/explanation/*.md")])
TEST = re.compile(r"`(test_\w+)`")
MUTANT = re.compile(r"[Mm]utant \*([^*]+)\*")


def defined() -> set[str]:
    """Give the names of all tests of this repository."""
    return {
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    assert not set(TEST.findall(page.read_text())) - defined()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_mutant_that_a_page_names_is_there(page: Path) -> None:
    text = (ROOT / "tests/host/mutants.py").read_text()
    for name in MUTANT.findall(page.read_text()):
        assert f'name="{" ".join(name.split())}"' in text


def test_each_reason_to_leave_a_page_alone_has_an_advice() -> None:
    reasons = re.findall(r'SKIPPED\(\w+, "(\w+)"\)', (ROOT / "kernel/sysfs.c").read_text())
    page = (ROOT / "docs/how-to/watch-and-tune.md").read_text()
    table = page.partition("| `skipped/` |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(reasons)


def test_every_page_is_in_the_table_of_its_part() -> None:
    for page in PAGES:
        if page.stem != "index":
            index = page.with_name("index.md").read_text()
            assert re.search(rf"^{page.stem}$", index, re.MULTILINE), page
