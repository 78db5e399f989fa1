"""The texts of pages that the search of the site shows without a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sphinx_build import build

from ksmlab.site import search

if TYPE_CHECKING:
    from pathlib import Path

PAGE = """<html><body><nav><p>Menu</p></nav>
<article role="main" class="x"><section id="a"><h1>A &lt;b&gt;<a href="#a">¶</a></h1>
<p>One <b>two</b>
three.</p><script>no()</script><svg><text>no</text></svg></section></article>
<footer><p>Foot</p></footer></body></html>"""


def test_page_is_reduced_to_the_text_and_paragraphs_of_its_main_element() -> None:
    assert search.reduce(PAGE).replace("\n", "") == (
        '<article role="main"><section id="a">A &lt;b&gt; <p>One two three.</p></section></article>'
    )


def test_build_writes_the_text_of_every_page(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(
        "extensions = ['myst_parser', 'ksmlab.site']\nhtml_theme = 'furo'\n"
    )
    (tmp_path / "index.md").write_text("# A\n\nFirst.\n\n```{toctree}\nb\n```\n")
    (tmp_path / "b.md").write_text("# B\n\nSecond.\n")
    build(tmp_path)
    script = (tmp_path / "out/_static/search-texts.js").read_text()
    texts = json.loads(script.removeprefix("window.searchTexts = ").removesuffix(";\n"))
    assert set(texts) == {"index", "b"}
    assert "<p>Second.</p>" in texts["b"]
    assert 'role="main"' in texts["b"]
