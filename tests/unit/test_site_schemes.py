"""The light and the dark form of drawings, and of the page of the demonstration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from elements import Elements
from sphinx_build import build

from ksmlab.site import demo, links, schemes

ROOT = Path(__file__).resolve().parents[2]
DRAWINGS = sorted((ROOT / "docs/images").glob("*.svg"))
SVG = (
    "<style>\nrect { fill: white; }\n"
    "@media (prefers-color-scheme: dark) { rect { fill: black; } a { fill: red; } }\n"
    "b { fill: blue; }\n</style>"
)


def test_light_form_has_no_rule_for_dark_screens() -> None:
    light = schemes.resolve(SVG, "light")
    assert "black" not in light
    assert "white" in light
    assert "b { fill: blue; }" in light


def test_dark_form_has_the_rules_for_dark_screens_without_a_condition() -> None:
    dark = schemes.resolve(SVG, "dark")
    assert "@media" not in dark
    assert dark.index("white") < dark.index("rect { fill: black; } a { fill: red; }")
    assert dark.count("{") == dark.count("}")


def test_rule_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="closing brace"):
        schemes.resolve("@media (prefers-color-scheme: dark) { a { }", "dark")


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_every_drawing_has_two_forms(path: Path) -> None:
    light, dark = (schemes.resolve(path.read_text(), each) for each in schemes.SCHEMES)
    assert light != dark
    assert "prefers-color-scheme" not in light + dark


def test_page_shows_one_form_for_each_scheme(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text("extensions = ['myst_parser', 'ksmlab.site']\n")
    (tmp_path / "index.md").write_text("# A\n\n![words](a.svg)\n\n![plain](b.svg)\n")
    (tmp_path / "a.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg">{SVG}</svg>')
    (tmp_path / "b.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    build(tmp_path)
    html = (tmp_path / "out/index.html").read_text()
    images = [
        (found[1], found[2])
        for found in re.finditer(r'<img alt="\w+"(?: class="([^"]*)")? src="([^"]*)"', html)
    ]
    assert images == [
        ("only-light", "_images/a-light.svg"),
        ("only-dark", "_images/a-dark.svg"),
        (None, "_images/b.svg"),
    ]
    assert links.broken(tmp_path / "out") == []


def test_page_of_the_demonstration_is_whole_in_both_schemes(tmp_path: Path) -> None:
    demo.write(tmp_path)
    pages = [(tmp_path / f"{scheme}.html").read_text() for scheme in schemes.SCHEMES]
    assert pages[0] != pages[1]
    for page, scheme in zip(pages, schemes.SCHEMES, strict=True):
        found = Elements(page)
        assert found.open == []
        assert ("meta", {"name": "color-scheme", "content": scheme}) in found.tags
        assert not [tag for tag, _ in found.tags if tag == "h1"]
        cells = [one for _, one in found.tags if "cell" in (one.get("class") or "").split()]
        assert len(cells) == 3 * 144
    assert links.broken(tmp_path) == []
