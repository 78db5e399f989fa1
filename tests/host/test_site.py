"""The documentation in a real browser: every page, on a phone and on a desk, by day and by night."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from browser import CONTRASTS, Browser, browser
from harness import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Of a phone, and of a window on a desk.
WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")
#: A page of each kind.
READ = ("index", "lessons/01-first-merge", "lessons/07-page-wrprotect", "explanation/choices", "reference/sysfs",
        "reference/ioctls", "reference/command")  # fmt: skip
DRAWN = "explanation/merge.html"
CARD = "return getComputedStyle(document.querySelector('.drawing .card')).fill"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going", "-b", "html",
         "-d", str(out / "doctrees"), str(CHECKOUT / "docs"), str(out / "html")],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.fixture(scope="module")
def screen() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_the_screen_nor_has_the_console_a_word(
    screen: Browser, site: Path, width: int
) -> None:
    pages = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    assert len(pages) > 25
    screen.log()
    for path in pages:
        screen.show(path, width=width)
        wide, room = screen.js(
            "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
        )
        assert wide <= room <= width, path.relative_to(site)
        assert screen.log() == [], path.relative_to(site)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_text_can_be_read(screen: Browser, site: Path, scheme: str) -> None:
    for page in READ:
        screen.show(site / f"{page}.html", scheme=scheme)
        texts = screen.js(CONTRASTS)
        assert len(texts) > 20
        assert [text for text in texts if text[0] < 4.5] == [], page


@pytest.mark.parametrize("chosen", SCHEMES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_drawing_follows_the_switch_of_the_page(
    screen: Browser, site: Path, scheme: str, chosen: str
) -> None:
    screen.show(site / DRAWN, scheme=scheme)
    found = {}
    for theme in (*SCHEMES, "auto"):
        screen.js("document.body.dataset.theme = arguments[0]", theme)
        found[theme] = screen.js(CARD)
    assert found["light"] != found["dark"]
    assert found["auto"] == found[scheme]
    # It is the page's own button that sets what was set above.
    screen.js("localStorage.setItem('theme', arguments[0])", chosen)
    screen.show(site / DRAWN, scheme=scheme)
    assert screen.js(CARD) == found[chosen]
    screen.js("localStorage.clear()")


def test_a_drawing_scrolls_on_a_phone_and_says_what_it_shows(screen: Browser, site: Path) -> None:
    screen.show(site / DRAWN, width=WIDTHS[0])
    shown, whole = screen.js(
        "const e = document.querySelector('.drawing-sheet'); return [e.clientWidth, e.scrollWidth]"
    )
    assert whole > shown > 200
    labels = screen.js(
        "const svg = document.querySelector('.drawing'); return svg.getAttribute('aria-labelledby')"
        ".split(' ').map((id) => document.getElementById(id).textContent)"
    )
    assert len(labels) == 2
    assert all(len(text) > 10 for text in labels)


def test_what_is_said_of_a_name_stands_below_it_on_a_phone(screen: Browser, site: Path) -> None:
    places = []
    for width in WIDTHS:
        screen.show(site / "reference/sysfs.html", width=width)
        places.append(
            screen.js(
                "const r = document.querySelector('table.meanings tbody tr');"
                "const [a, b] = [r.firstElementChild, r.lastElementChild].map((e) => e.getBoundingClientRect());"
                "return [a.top < b.top, a.left < b.left]"
            )
        )
    assert places == [[True, False], [False, True]]
