"""Test the pages of the documentation in a real browser, with narrow and wide screens and both colour schemes."""

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

#: The widths of a phone and of a desktop window, in pixels.
WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")
#: One page of each kind.
READ = ("index", "lessons/01-first-merge", "lessons/07-page-wrprotect", "explanation/choices", "reference/sysfs",
        "reference/ioctls", "reference/command")  # fmt: skip
DRAWN = "explanation/merge.html"


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


def dark(screen: Browser) -> bool:
    """Return whether the drawing of the page is dark in a screenshot."""
    image = screen.driver.find_element("css selector", "article img").screenshot_as_base64
    # Let the browser scale the image to one pixel, since a page cannot read the pixels of an image otherwise.
    level = screen.driver.execute_async_script(
        "const done = arguments[1], image = new Image();"
        "image.onload = () => { const c = document.createElement('canvas').getContext('2d');"
        "c.drawImage(image, 0, 0, 1, 1); done(c.getImageData(0, 0, 1, 1).data[1]); };"
        "image.src = 'data:image/png;base64,' + arguments[0];",
        image,
    )
    return bool(level < 128)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_drawing_follows_the_switch_of_the_page(screen: Browser, site: Path, scheme: str) -> None:
    for chosen in (*SCHEMES, "auto"):
        screen.show(site / DRAWN, scheme=scheme)
        screen.js("localStorage.setItem('theme', arguments[0])", chosen)
        screen.show(site / DRAWN, scheme=scheme)
        assert dark(screen) == ((scheme if chosen == "auto" else chosen) == "dark"), chosen
    screen.js("localStorage.clear()")


def test_a_drawing_fits_a_phone_and_has_its_words_as_alternative_text(
    screen: Browser, site: Path
) -> None:
    screen.show(site / DRAWN, width=WIDTHS[0])
    width, text = screen.js(
        "const e = document.querySelector('article img'); return [e.clientWidth, e.alt]"
    )
    assert 300 < width <= WIDTHS[0]
    assert len(text) > 100


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
