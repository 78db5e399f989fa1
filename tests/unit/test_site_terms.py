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
SHORT = {
    "node": "stable node",
    "idle page or chunk": "idle",
    "collided sample": "collision",
    "stable index": "index",
    "unstable index": "index",
}


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


def site(directory: Path, pages: dict[str, str]) -> Path:
    """Build a site with a glossary and these pages, and return the directory of its files."""
    entries = {
        "folio": "One page.",
        "PTE": "An entry.",
        "page_table": "A table.",
        "page walk": "A walk.",
    }
    glossary = "".join(f"## {term}\n\n{text} More.\n\n" for term, text in entries.items())
    links = "\n".join(("glossary", *pages))
    texts = {
        "glossary": f"# G\n\n{glossary}",
        "index": f"# I\n\n```{{toctree}}\n{links}\n```\n",
        **pages,
    }
    for name, text in texts.items():
        path = directory / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (directory / "conf.py").write_text(
        "extensions = ['myst_parser', 'ksmlab.site']\nmyst_heading_anchors = 2\n"
    )
    return build(directory)


def marked(path: Path) -> list[tuple[str, str, str]]:
    """Return the links of a page that have a tooltip: their text, the id of the entry, and the definition."""
    found = re.findall(
        r'<a class="(?=[^"]*\bterm\b)[^"]*" href="[^"]*glossary\.html#([^"]*)" title="([^"]*)">(.*?)</a>',
        path.read_text(),
        re.DOTALL,
    )
    return [(re.sub("<[^>]*>", "", text), entry, title) for entry, title, text in found]


def test_links_to_the_glossary_have_the_definition_on_the_site(tmp_path: Path) -> None:
    """An anchor of Markdown viewers may have underscores, but Sphinx gives the heading an id without them."""
    text = "# A\n\n[x](../glossary.md#folio) [y](../glossary.md) [z](../glossary.md#page_table) folio\n"
    out = site(tmp_path, {"how-to/a": text})
    assert marked(out / "how-to/a.html") == [
        ("x", "folio", "One page."),
        ("z", "page-table", "A table."),
    ]


def test_first_use_of_a_term_in_a_lesson_is_a_link_with_the_definition(tmp_path: Path) -> None:
    text = (
        "# A folio\n\n## Folio\n\n`folio` and [a folio](https://example.org), folio-like, the\nFolios."
        " A folio again.\n\n```\nPTE page walk\n```\n\nNo pte. *PTEs* and page\nwalks.\n\n"
        "| PTE |\n|---|\n| page walk |\n"
    )
    out = site(tmp_path, {"lessons/00-a": text, "lessons/index": text, "explanation/b": text})
    expected = [
        ("Folios", "folio", "One page."),
        ("PTEs", "pte", "An entry."),
        ("page\nwalks", "page-walk", "A walk."),
    ]
    assert marked(out / "lessons/00-a.html") == expected
    assert marked(out / "explanation/b.html") == expected
    assert marked(out / "lessons/index.html") == []


def test_use_after_a_link_of_the_author_is_no_link(tmp_path: Path) -> None:
    text = "# A\n\nThe [group](../glossary.md#folio) is a folio.\n"
    out = site(tmp_path, {"lessons/00-a": text})
    assert marked(out / "lessons/00-a.html") == [("group", "folio", "One page.")]


def test_names_that_can_mean_something_else_are_in_the_glossary() -> None:
    names = {name for term in ENTRIES for name in re.split(r", | \(", term.rstrip(")"))}
    assert names >= terms.AMBIGUOUS


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("index", set()),
        ("mapping (VMA)", {"VMA", "VMAs"}),
        ("LRU lists", {"LRU lists", "LRU list"}),
        ("rss, Pss", {"rss", "rsses", "Pss", "Psses"}),
        ("page table", {"page table", "page tables"}),
    ],
)
def test_forms_of_a_term(term: str, expected: set[str]) -> None:
    assert set(terms.forms(term)) == expected


def test_longest_term_at_a_place_is_the_one_that_is_used() -> None:
    matcher, ids = terms.pattern(("KSM", "KSM page"))
    assert [ids[found.lower()] for found in matcher.findall("a KSM page, KSM, mm/KSM, KSMs")] == [
        "ksm-page", "ksm", "ksm",
    ]  # fmt: skip
