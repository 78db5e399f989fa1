"""The glossary: its entries, the names that mainline KSM has for them, and the definitions on the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sphinx_build import build

from ksmlab.site import terms

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
ENTRIES = terms.entries(GLOSSARY)
ROW = re.compile(r"^ \*\t(?P<term>\w[\w ]*?)\t+(?P<meaning>.+)$", re.MULTILINE)
#: Where the glossary has a term of kernel/ksm.h under a shorter name.
SHORT = {"node": "stable node", "idle page or chunk": "idle", "collided sample": "collision"}


def driver_terms() -> dict[str, str]:
    """Return the terms of kernel/ksm.h, each with its name in mainline, or an empty string."""
    table = (ROOT / "kernel/ksm.h").read_text().partition("Terms, with")[2].partition("Layers")[0]
    found = {}
    for row in ROW.finditer(table):
        mainline = re.search(r"\(([^)]+)\)$", row["meaning"])
        found[row["term"]] = mainline[1] if mainline else ""
    return found


def test_table_of_the_driver_is_read() -> None:
    found = driver_terms()
    assert len(found) >= 10
    assert found["node"] == "stable_node"


@pytest.mark.parametrize("term", driver_terms())
def test_term_of_the_driver_is_in_the_glossary_with_the_name_of_mainline(term: str) -> None:
    entry = ENTRIES[SHORT.get(term, term)]
    assert driver_terms()[term] in entry


@pytest.mark.parametrize("term", ["KSM", "copy-on-write", "PTE", "TLB", "PFN", "page fault"])
def test_glossary_has_the_terms_that_the_lessons_start_with(term: str) -> None:
    assert term in ENTRIES


@pytest.mark.parametrize(
    "term",
    [
        "advisor", "arena", "batch", "chain", "engine", "full pass", "hash seed", "held page", "KSM page", "ksm_lab",
        "MADV_MERGEABLE", "partner", "reaper", "smart scan", "steady pass",
    ],
)  # fmt: skip
def test_term_of_the_lessons_is_in_the_glossary_with_the_name_of_mainline(term: str) -> None:
    assert "mainline KSM" in ENTRIES[term].replace("Mainline", "mainline")


def test_kinds_of_passes_that_readme_names_are_in_the_glossary() -> None:
    kinds = set(re.findall(r"^\| (\w+ pass):", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert kinds
    assert kinds <= set(ENTRIES)


def test_counters_are_in_the_glossary_with_the_names_of_mainline() -> None:
    assert "pages_sharing" in ENTRIES["pages_shared"]
    assert "pages_shared" in ENTRIES["kernel_pages_allocated"]


def test_entries_are_in_alphabetical_order() -> None:
    assert list(ENTRIES) == sorted(ENTRIES, key=str.lower)
    assert len(ENTRIES) == len(re.findall("^## ", GLOSSARY, re.MULTILINE))


def test_first_sentence_of_every_entry_is_a_definition_of_a_tooltip_s_length() -> None:
    for term, sentence in terms.definitions(GLOSSARY).items():
        assert not re.match("Also |See ", sentence), term
        assert 20 < len(sentence) < 200, term
        assert not re.search(r"[`*\[\]]", sentence), term


def test_first_sentence_may_have_a_dot_in_a_path() -> None:
    text = "# G\n\n## a (B)\n\nThe file [x.c](x.md), *not*\nthe `y.h`. More.\n\nAnother.\n"
    assert terms.definitions(text) == {"a-b": "The file x.c, not the y.h."}


def test_entry_without_a_sentence_is_refused() -> None:
    with pytest.raises(ValueError, match="'a'"):
        terms.definitions("## a\n\nno sentence\n")


def test_links_to_the_glossary_have_the_definition_on_the_site(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(
        "extensions = ['myst_parser', 'ksmlab.site']\nmyst_heading_anchors = 2\n"
    )
    (tmp_path / "glossary.md").write_text("# G\n\n## folio\n\nOne page. Or more.\n")
    (tmp_path / "index.md").write_text(
        "# A\n\n[x](glossary.md#folio) [y](glossary.md)\n\n```{toctree}\nglossary\n```\n"
    )
    build(tmp_path)
    html = (tmp_path / "out/index.html").read_text()
    (link,) = re.findall(r'<a class="[^"]*\bterm\b[^"]*"[^>]*>', html)
    assert 'title="One page."' in link
