"""A small site of lessons, code and reference: what is on its pages, and what makes its build fail."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from ksmlab.lessons import recorded, source
from ksmlab.lessons.recorded import Exchange, Recorded

if TYPE_CHECKING:
    from pathlib import Path

LESSON = """\
# 3. Name

```{lesson}
:kernel: debian-6.1
:minutes: 5
```

```{run}
:varies: pfn=<frame>

cat x
```
"""
STALE = LESSON.replace("# 3. Name", "# 4. Stale")
PAGES = {
    "index.md": "# Site\n\n```{toctree}\n03-name\n04-stale\ncode\nreference\n"
    "reference/driver/pte_c\n```\n",
    "03-name.md": LESSON,
    "04-stale.md": STALE,
    "reference/driver/pte_c.md": "# pte.c\n\n```{reference} kernel-doc pte.c\n```\n",
    "code.md": "# Code\n\nSee `replace_page()`.\n\n```{excerpt} kernel/pte.c get_pte\n```\n\n"
    "```{excerpt} kernel/pte.c get_ptes\n```\n\n```{excerpt} python/ksmlab/nothing.py f\n```\n",
    "reference.md": "# Reference\n\n```{reference} sysfs\n```\n\n```{reference} colours\n```\n\n"
    "## First\n\n```{reference} ioctls\n```\n\n## Last\n",
}


@dataclass(frozen=True)
class Site:
    """What a build gave."""

    status: int
    said: str
    out: Path

    def text(self, page: str) -> str:
        """Return a page without its marks."""
        return html.unescape(re.sub(r"<[^>]+>", "", (self.out / page).read_text()))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    root = tmp_path_factory.mktemp("site")
    (root / "conf.py").write_text("extensions = ['myst_parser', 'ksmlab.site']\n")
    for name, text in PAGES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, typed in (("03-name.md", "cat x"), ("04-stale.md", "cat y")):
        lesson = source.read(root / name)
        exchange = Exchange("vm:~# ", typed, "pfn=0x12 present\n")
        recorded.save(lesson, Recorded("6.1.0-test", "KVM", ((exchange,),)))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going",
         "-b", "html", str(root), str(root / "out")],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    return Site(done.returncode, done.stderr, root / "out")


def test_a_lesson_shows_what_was_recorded_and_what_varies(site: Site) -> None:
    page = (site.out / "03-name.html").read_text()
    assert "vm:~# cat x\npfn=0x12 present" in site.text("03-name.html")
    assert '<span class="varies">0x12</span> present' in page
    assert '<span class="typed">cat x</span>' in page
    assert "make lesson N=3" in site.text("03-name.html")
    assert "6.1.0-test" in page


def test_a_lesson_that_was_another_when_it_was_recorded_breaks_the_build(site: Site) -> None:
    assert site.status != 0
    assert re.search(r"04-stale\.md.*lesson 4, step 1 .*make lessons-record N=4", site.said)


def test_code_is_included_by_its_name(site: Site) -> None:
    assert "pte_t *get_pte(struct mm_struct *mm" in site.text("code.html")


def test_excerpt_links_its_file_and_its_function(site: Site) -> None:
    page = (site.out / "code.html").read_text()
    assert re.search(r'href="_downloads/\w+/pte\.c"', page)
    assert 'href="reference/driver/pte_c.html#get-pte"' in page


def test_names_of_functions_link_to_the_reference_but_not_to_themselves(site: Site) -> None:
    page = (site.out / "code.html").read_text()
    assert 'href="reference/driver/pte_c.html#replace-page"' in page
    page = (site.out / "reference/driver/pte_c.html").read_text()
    section = page.partition('<section id="replace-page">')[2].partition("</section>")[0]
    assert 'href="#page-wrprotect"' in section
    assert section.count('href="#replace-page"') == 1


def test_a_renamed_function_breaks_the_build(site: Site) -> None:
    assert re.search(
        r"code\.md:8.*kernel/pte\.c has nothing of the name 'get_ptes'; near to it: get_pte",
        site.said,
    )
    assert re.search(r"code\.md:11.*python/ksmlab/nothing\.py is not there", site.said)


def test_the_reference_is_a_table(site: Site) -> None:
    assert "pages_to_scan" in site.text("reference.html")
    assert "<table" in (site.out / "reference.html").read_text()
    assert re.search(r"reference\.md:6.*no part 'colours'", site.said)


def test_what_has_a_name_is_a_section_of_the_one_it_stands_in(site: Site) -> None:
    page = (site.out / "reference.html").read_text()
    found = re.findall(r'<(/?)section(?: id="([\w-]+)")?', page)
    depths, depth = {}, 0
    for end, name in found:
        depth += -1 if end else 1
        if not end:
            depths[name] = depth
    names = list(depths)
    assert names[:3] == ["reference", "first", "ksm-get-api-version"]
    assert names[-2:] == ["ksm-remove-memory-region", "last"]
    assert depths["last"] == depths["first"] == 2
    assert {depths[name] for name in names[2:-1]} == {3}
