"""What the pages of the site tell search engines and other sites."""

from __future__ import annotations

import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from elements import Elements

from drawings import card

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "index": "# A `b`\n\nSee `x` & *y*.\n\n```{toctree}\nlesson\nempty\n```\n",
    "lesson": f"# L\n\nAbout 20 minutes. In a VM.\n\n- A list.\n\n{'Long words. ' * 20}\n",
    "empty": "# E\n",
}


def build(root: Path, *options: str) -> dict[str, dict[str, str]]:
    """Build a small site, and return the meta elements of each page by name."""
    (root / "conf.py").write_text(
        "project = 'P'\nextensions = ['myst_parser', 'ksmlab.site']\nhtml_theme = 'furo'\n"
    )
    for name, text in PAGES.items():
        (root / f"{name}.md").write_text(text)
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-b", "html", *options, ".", "out"],
        cwd=root, check=True,
    )  # fmt: skip
    found = {}
    for name in PAGES:
        tags = Elements((root / "out" / f"{name}.html").read_text().replace("<br>", "")).tags
        metas = [one for tag, one in tags if tag == "meta"]
        found[name] = {
            one.get("property") or one.get("name") or "": one.get("content") or "" for one in metas
        }
    return found


@pytest.fixture(scope="module")
def metas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return build(tmp_path_factory.mktemp("plain"))


def test_description_is_the_first_paragraph(metas: dict[str, dict[str, str]]) -> None:
    assert metas["index"]["description"] == "See x & y."
    assert metas["index"]["og:description"] == "See x & y."


def test_description_of_a_lesson_is_cut_and_has_no_minutes(
    metas: dict[str, dict[str, str]],
) -> None:
    text = metas["lesson"]["description"]
    assert text.startswith("Long words. Long")
    assert text.endswith(" …")
    assert 120 < len(text) <= 160


def test_page_without_a_paragraph_has_no_description(metas: dict[str, dict[str, str]]) -> None:
    assert "description" not in metas["empty"]
    assert metas["empty"]["og:title"] == "E"


def test_title_has_no_elements(metas: dict[str, dict[str, str]]) -> None:
    assert metas["index"]["og:title"] == "A b"


def test_addresses_are_absolute_with_a_base_address(tmp_path: Path) -> None:
    found = build(tmp_path, "-D", "html_baseurl=https://site.example/x/")
    assert found["lesson"]["og:url"] == "https://site.example/x/lesson.html"
    assert found["lesson"]["og:image"] == "https://site.example/x/_static/card.png"


def test_card_has_the_size_that_other_sites_ask_for() -> None:
    """If it is stale: make card."""
    data = (ROOT / "docs/_static/card.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (card.WIDTH, card.HEIGHT)
    assert len(data) < 100_000


def test_card_is_drawn_from_the_stored_picture() -> None:
    svg = ET.fromstring(card.svg())
    texts = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "/dev/ksm lab" in texts
    assert "96 pages in 48 frames" in texts
