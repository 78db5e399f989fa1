"""A link that leads nowhere is found in the pages that are made, and by Sphinx before that."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from sphinx_build import build, try_build

from ksmlab.lessons.excerpt import CHECKOUT
from ksmlab.site import links

if TYPE_CHECKING:
    from pathlib import Path

PAGE = '<p id="here">x</p><a href="{}">y</a>'


@pytest.mark.parametrize(
    "link",
    ["b/other.html", "b/other.html#here", "b/", "#here", "https://nowhere.invalid/#x", "a%20b.css"],
)
def test_a_link_that_leads_somewhere(tmp_path: Path, link: str) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a b.css").write_text("")
    for name in ("other.html", "index.html"):
        (tmp_path / "b" / name).write_text(PAGE.format("#here"))
    (tmp_path / "a.html").write_text(PAGE.format(link))
    assert links.broken(tmp_path) == []


@pytest.mark.parametrize("link", ["none.html", "b/none.html#here", "#there", "a.html#there", "b/"])
def test_a_link_that_leads_nowhere(tmp_path: Path, link: str) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.html").write_text(PAGE.format(link))
    assert links.broken(tmp_path) == [f"a.html: {link}"]


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<img src="x.svg">')
    assert links.broken(tmp_path) == ["a.html: x.svg"]


def test_the_command_fails(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(PAGE.format("none.html"))
    for root, words in ((tmp_path, "a.html: none.html"), (tmp_path / "empty", "make docs")):
        done = subprocess.run(
            [sys.executable, "-m", "ksmlab.site.links", str(root)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert words in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        "[x](none.md)",
        "[x](../none.md)",
        "[x](#none)",
        "[x](other.md#none)",
        "{ref}`none`",
        "{doc}`none`",
        "{term}`none`",
    ],
)
def test_sphinx_refuses_it_with_the_settings_of_the_site(tmp_path: Path, words: str) -> None:
    settings = (CHECKOUT / "docs/conf.py").read_text()
    assert "nitpicky = True" in settings
    (tmp_path / "conf.py").write_text(
        "extensions = ['myst_parser', 'ksmlab.site']\nmyst_heading_anchors = 3\nnitpicky = True\n"
    )
    (tmp_path / "index.md").write_text(f"# A\n\n{words}\n\n```{{toctree}}\nother\n```\n")
    (tmp_path / "other.md").write_text("# B\n")
    done = try_build(tmp_path)
    assert done.returncode != 0, words
    assert "index.md" in done.stderr


def test_link_to_the_readme_leads_to_the_page_that_shows_it(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "deep").mkdir(parents=True)
    (tmp_path / "README.md").write_text(
        "# Name\n\nWords of it, [a](docs/index.md), [b](LICENSE) and [c](docs/deep/page.md#d).\n\n## Start\n"
    )
    (tmp_path / "LICENSE").write_text("free\n")
    (docs / "conf.py").write_text(
        "extensions = ['myst_parser', 'ksmlab.site']\nmyst_heading_anchors = 2\nnitpicky = True\n"
    )
    (docs / "index.md").write_text(
        "# A\n\n[x](../README.md)\n\n<!-- toctree\nreadme\ndeep/page\n-->\n"
    )
    (docs / "deep/page.md").write_text("# B\n\n[y](../../README.md)\n\n## d\n")
    (docs / "readme.md").write_text(
        "# README\n\nIn [README.md](../README.md).\n\n<!-- body README.md -->\n"
    )
    build(docs)
    assert links.broken(docs / "out") == []
    assert 'href="readme.html"' in (docs / "out/index.html").read_text()
    assert 'href="../readme.html"' in (docs / "out/deep/page.html").read_text()
    html = (docs / "out/readme.html").read_text()
    assert "Words of it" in html
    assert "<h1>README<" in html
    assert 'href="deep/page.html#d"' in html
    assert "<h2>Start<" in html


def test_link_to_markdown_outside_the_site_is_a_download(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "deep").mkdir(parents=True)
    (tmp_path / "README.md").write_text("# Read me\n")
    (docs / "conf.py").write_text("extensions = ['myst_parser', 'ksmlab.site']\nnitpicky = True\n")
    (docs / "index.md").write_text("# A\n\n[x](../README.md)\n\n```{toctree}\ndeep/page\n```\n")
    (docs / "deep/page.md").write_text("# B\n\n[y](../../README.md)\n")
    build(docs)
    assert links.broken(docs / "out") == []
    for page in ("index.html", "deep/page.html"):
        assert "README.md" in (docs / "out" / page).read_text()
