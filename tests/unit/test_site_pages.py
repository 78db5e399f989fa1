"""Pages are complete Markdown: their code, tables and links hold without the site, and none is stale."""

from __future__ import annotations

import html
import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from sphinx_build import build

from ksmlab.lessons import blocks, source
from ksmlab.lessons.excerpt import CHECKOUT
from ksmlab.site import comments, kernel_doc, pages

if TYPE_CHECKING:
    from pathlib import Path

PAGES = pages.all_pages()
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
QUOTED = re.compile(
    r"^\[`(?P<path>[^`:]+):(?P<line>\d+)`\]\((?P<target>[^)#]+)#L(?P<anchor>\d+)\)\n\n"
    r"(?P<mark>`{3,})\w+\n(?P<code>.*?)\n(?P=mark)$",
    re.MULTILINE | re.DOTALL,
)


def prose(text: str) -> str:
    """Return a page without its code."""
    return re.sub(r"^(`{3,}).*?^\1$|``.*?``|`[^`]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the anchors that a forge makes from the headings of a page."""
    text = re.sub(r"^(`{3,}).*?^\1$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        found.add(re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-"))
    return found


def test_no_page_is_stale() -> None:
    assert pages.write(PAGES, check=True) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_quoted_code_is_in_its_file_at_its_line(page: Path) -> None:
    text = page.read_text()
    found = list(QUOTED.finditer(text))
    wanted = sum(
        max(1, len(block.arguments) - 1)
        for block in blocks.find(text)
        if block.name in ("excerpt", "file")
    )
    assert len(found) == wanted
    for each in found:
        source = (page.parent / each["target"]).resolve()
        assert source == (CHECKOUT / each["path"]).resolve()
        assert each["line"] == each["anchor"]
        lines = each["code"].split("\n")
        first = int(each["line"]) - 1
        assert source.read_text().splitlines()[first : first + len(lines)] == lines


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_needs_no_sphinx(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"^ *(?:`{3,}|:{3,}|~{3,})\{.*$|^\([\w-]+\)=$", text, re.MULTILINE) == []
    assert re.findall(r"\{[a-z][\w:-]*\}`", text) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(prose(page.read_text())):
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if fragment and target.suffix == ".md":
            assert fragment in anchors(target), link


def test_stale_page_is_reported_and_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A\n\n<!-- excerpt kernel/pte.c get_pte -->\nold\n<!-- end -->\n")
    assert [line.split(": ")[1] for line in pages.write([page], check=True)] == [
        "differs from its sources. Update the pages with"
    ]
    assert "old" in page.read_text()
    assert pages.write([page]) == []
    assert "pte_t *get_pte(struct mm_struct *mm" in page.read_text()
    assert pages.write([page], check=True) == []


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("excerpt kernel/pte.c get_ptes", r"does not define 'get_ptes'\. Similar names: get_pte"),
        ("excerpt python/ksmlab/nothing.py f", r"python/ksmlab/nothing\.py does not exist"),
        ("file kernel/pte.c\nfrom: no such text\n", "kernel/pte.c has no line with 'no such text'"),
        ("reference colours", "no part 'colours'"),
        ("targets\nworkload: colours\n", "no target for colours"),
    ],
)
def test_source_that_is_gone_is_reported_with_the_line(
    tmp_path: Path, marker: str, said: str
) -> None:
    page = tmp_path / "page.md"
    end = "" if marker.endswith("\n") else " "
    page.write_text(f"# A\n\n<!-- {marker}{end}-->\n<!-- end -->\n")
    (problem,) = pages.write([page])
    assert re.search(rf"page\.md: line 3: .*{said}", problem)


def test_command_fails_if_a_page_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- reference sysfs -->\n<!-- end -->\n")
    monkeypatch.setattr(pages, "all_pages", lambda: [page])
    monkeypatch.setattr(sys, "argv", ["pages", "--check"])
    with pytest.raises(SystemExit, match="make pages"):
        pages.main()
    monkeypatch.setattr(sys, "argv", ["pages"])
    pages.main()
    assert "`pages_to_scan`" in page.read_text()


def test_parts_of_a_file_are_quoted_by_their_text() -> None:
    block = blocks.find(
        "<!-- file vm/kernels.toml\nfrom: # series\nuntil: # flavour\n-->\n<!-- end -->"
    )[0]
    page = pages.Page(CHECKOUT / "docs/how-to/x.md")
    (found,) = QUOTED.finditer(page._write(block).body)
    assert found["target"] == "../../vm/kernels.toml"
    assert found["code"].startswith("# series")
    assert "\n" not in found["code"]


def test_code_with_a_fence_gets_a_longer_one() -> None:
    assert blocks.fence("a\n````\nb", "c") == "`````c\na\n````\nb\n`````\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HTML files of a small site that has all three comments."""
    root = tmp_path_factory.mktemp("site") / "docs"
    root.mkdir()
    # Pages link to the sources, which are beside docs/.
    shutil.copytree(CHECKOUT / "kernel", root.parent / "kernel")
    (root / "conf.py").write_text(
        "extensions = ['myst_parser', 'sphinx.ext.autodoc', 'ksmlab.site']\n"
    )
    index = (
        "# Site\n\n<!-- toctree\nnames\nreference/driver/pte_c\n-->\n\n"
        "<!-- eval-rst\n.. autofunction:: ksmlab.content.equal\n-->\n"
    )
    names = (
        "# Names\n\nSee `replace_page()`.\n\n| name | meaning |\n|---|---|\n| a | b |\n"
        '\n| event | who "acts" | result |\n|---|---|---|\n| close | the client | all of its pages are unmerged |\n'
        "\n| a | b | c |\n|---|---|---|\n| 1 | 2 | 3 |\n"
    )
    (root / "reference/driver").mkdir(parents=True)
    (root / "index.md").write_text(index)
    (root / "names.md").write_text(names)
    (root / "reference/driver/pte_c.md").write_text("# pte.c\n\n<!-- kernel-doc pte.c -->\n")
    return build(root)


def test_comments_become_directives_on_the_site(site: Path) -> None:
    index = (site / "index.html").read_text()
    assert "ksmlab.content.equal" in index
    assert 'href="names.html"' in index
    assert 'id="get-pte"' in (site / "reference/driver/pte_c.html").read_text()


@pytest.mark.parametrize("lesson", source.read_all().values(), ids=lambda one: one.path.stem)
def test_every_session_of_a_lesson_can_be_replayed(lesson: source.Lesson) -> None:
    assert comments.expand(lesson.path.read_text()).count("\n{.recorded}\n```") == len(lesson.steps)


def test_class_of_a_block_is_given_in_the_words_of_myst() -> None:
    assert comments.expand("<!-- class stepper -->\n| a |\n") == "{.stepper}\n| a |\n"


def test_text_without_comments_is_unchanged() -> None:
    assert comments.expand("text\n") == "text\n"


def test_tables_of_meanings_have_a_class(site: Path) -> None:
    assert re.search(r'<table class="[^"]*meanings', (site / "names.html").read_text())


def test_cells_of_wide_tables_have_the_headings_of_their_columns(site: Path) -> None:
    meanings, wide, narrow = re.findall(
        r"<table.*?</table>", (site / "names.html").read_text(), re.DOTALL
    )
    assert re.findall(r'data-head="(.*?)"', meanings) == ["name", "meaning"]
    assert re.match(r'<table class="[^"]*rows', wide)
    assert re.findall(r'<td data-head="(.*?)"', wide) == ["event", "who &quot;acts&quot;", "result"]
    assert "rows" not in narrow
    assert "data-head" not in narrow


def test_names_of_functions_link_to_the_reference_but_not_to_themselves(site: Path) -> None:
    page = (site / "names.html").read_text()
    assert 'href="reference/driver/pte_c.html#replace-page"' in page
    page = (site / "reference/driver/pte_c.html").read_text()
    section = page.partition('<section id="replace-page">')[2].partition("</section>")[0]
    assert 'href="#page-wrprotect"' in section
    assert section.count('href="#replace-page"') == 1


def test_links_to_lines_of_sources_lead_to_pages_with_these_lines(site: Path) -> None:
    page = (site / "reference/driver/pte_c.html").read_text()
    links = re.findall(r'href="\.\./\.\./(source/kernel/pte\.c\.html)#L(\d+)"', page)
    assert len(links) == len(kernel_doc.docs("pte.c"))
    listing = (site / links[0][0]).read_text()
    source = (CHECKOUT / "kernel/pte.c").read_text().splitlines()
    assert listing.count('<span id="L') == len(source)
    for _, line in links:
        shown = listing.partition(f'<span id="L{line}">')[2].partition("\n")[0]
        text = html.unescape(re.sub(r"<[^>]*>", "", shown))
        assert text.strip() == f"{line}{source[int(line) - 1]}"
