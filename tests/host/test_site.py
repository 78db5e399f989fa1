"""Test the pages of the documentation in a real browser, with narrow and wide screens and both colour schemes."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from browser import CONTRASTS, DEADLINE, Browser, browser
from harness import CHECKOUT
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The widths of a phone and of a desktop window, in pixels.
WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")
#: A page of each kind.
READ = ("index", "lessons/01-first-merge", "lessons/08-page-wrprotect", "explanation/choices", "reference/sysfs",
        "reference/ioctls", "reference/command")  # fmt: skip
DRAWN = "explanation/merge.html"
#: Returns the beginning of each table that is wider than its place, so that a reader must scroll it.
SCROLLED_TABLES = """
return [...document.querySelectorAll("article table")]
  .filter((table) => table.getBoundingClientRect().width > table.parentElement.clientWidth)
  .map((table) => table.textContent.trim().slice(0, 60));
"""


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


def lesson(site: Path, name: str) -> Path:
    """Return the page of a lesson, whatever its number is."""
    (page,) = site.glob(f"lessons/*-{name}.html")
    return page


@pytest.fixture(scope="module")
def screen() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_and_no_table_is_wider_than_the_screen_and_the_console_is_empty(
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
        assert screen.js(SCROLLED_TABLES) == [], path.relative_to(site)
        assert screen.log() == [], path.relative_to(site)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_text_can_be_read(screen: Browser, site: Path, scheme: str) -> None:
    for page in READ:
        screen.show(site / f"{page}.html", scheme=scheme)
        texts = screen.js(CONTRASTS)
        assert len(texts) > 20
        assert [text for text in texts if text[0] < 4.5] == [], page


def forms(screen: Browser) -> set[str]:
    """Return which forms of its drawings the page shows: "light", "dark" or both."""
    return set(
        screen.js(
            "return [...document.querySelectorAll('article img')].filter((one) => one.checkVisibility())"
            ".map((one) => one.src.match(/-(light|dark)[.]svg$/)[1])"
        )
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_drawing_follows_the_switch_of_the_page(screen: Browser, site: Path, scheme: str) -> None:
    for chosen in (*SCHEMES, "auto"):
        screen.show(site / DRAWN, scheme=scheme)
        screen.js("localStorage.setItem('theme', arguments[0])", chosen)
        screen.show(site / DRAWN, scheme=scheme)
        assert forms(screen) == {scheme if chosen == "auto" else chosen}, chosen
    screen.js("localStorage.clear()")


def test_a_drawing_fits_a_phone_and_has_its_words_as_alternative_text(
    screen: Browser, site: Path
) -> None:
    screen.show(site / DRAWN, width=WIDTHS[0])
    width, text = screen.js(
        "const e = document.querySelector('article img.only-light'); return [e.clientWidth, e.alt]"
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


def test_stepper_shows_one_step_more_for_each_press(screen: Browser, site: Path) -> None:
    screen.show(lesson(site, "page-wrprotect"), width=WIDTHS[1])
    state = """
        const seen = [...document.querySelectorAll("table.stepper tbody tr")]
          .filter((row) => getComputedStyle(row).visibility === "visible").length;
        return [seen, document.querySelector(".stepper-said").textContent.slice(0, 7)]"""
    assert screen.js(state) == [1, ""]
    frame = screen.driver.find_element("css selector", ".stepper-frame")
    back, more, everything = frame.find_elements("css selector", "button")
    frame.send_keys(Keys.ARROW_RIGHT)
    # Not by the pointer: the page still scrolls, and its buttons move.
    press = "arguments[0].click()"
    screen.js(press, more)
    assert screen.js(state) == [3, "step: 3"]
    screen.js(press, back)
    assert screen.js(state) == [2, "step: 2"]
    screen.js(press, everything)
    assert screen.js(state) == [6, "All 6 s"]
    assert frame.text.startswith("Back\nNext\nStep by step\nAll 6 steps")


@pytest.mark.parametrize("chosen", SCHEMES)
def test_front_page_shows_the_demonstration_in_the_chosen_scheme(
    screen: Browser, site: Path, chosen: str
) -> None:
    screen.show(site / "index.html", scheme="dark" if chosen == "light" else "light")
    screen.js("document.body.dataset.theme = arguments[0]", chosen)
    frames = screen.driver.find_elements("css selector", ".demo-frame iframe")
    (frame,) = [each for each in frames if each.is_displayed()]
    screen.js("arguments[0].scrollIntoView({behavior: 'instant'})", frame)
    screen.driver.switch_to.frame(frame)
    WebDriverWait(screen.driver, DEADLINE).until(
        lambda driver: driver.find_elements("css selector", ".cell[tabindex]")
    )
    screen.js("document.querySelector('.cell.kernel').dispatchEvent(new MouseEvent('click'))")
    assert "frame is marked" in screen.js("return document.getElementById('told').textContent")
    back = screen.js("return getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[chosen]
    screen.driver.switch_to.default_content()


def test_term_shows_its_definition_on_keyboard_focus_and_escape_hides_it(
    screen: Browser, site: Path
) -> None:
    screen.show(lesson(site, "page-wrprotect"), width=WIDTHS[0])
    tip = "const t = document.getElementById('term-tip'); return "
    assert screen.js(f"{tip} t.hidden") is True
    # Focus by a script counts as focus by the keyboard, if no pointer has been used.
    screen.js("document.querySelector('article a.term[href$=\"#tlb\"]').focus()")
    assert screen.js(f"{tip} [t.hidden, t.textContent.startsWith('Translation lookaside')]") == [
        False,
        True,
    ]
    assert screen.js(f"{tip} document.activeElement.getAttribute('aria-describedby') === t.id")
    left, right, room = screen.js(
        f"const r = document.getElementById('term-tip').getBoundingClientRect();"
        f"{tip} [r.left, r.right, document.documentElement.clientWidth]"
    )
    assert 0 < left < right < room
    screen.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert screen.js(f"{tip} t.hidden") is True


@pytest.mark.parametrize(
    ("query", "first", "words"),
    [
        ("copy-on-write", "Copy-on-write", "copy-on-write"),
        ("page table", "The page table", "page table"),
        ("TLB", "Glossary > TLB", "cache of page-table entries"),
    ],
)
def test_search_lists_the_page_of_that_name_first_with_an_excerpt(
    screen: Browser, site: Path, query: str, first: str, words: str
) -> None:
    screen.log()
    screen.driver.get(f"{(site / 'search.html').as_uri()}?q={quote(query)}")
    WebDriverWait(screen.driver, DEADLINE).until(
        lambda driver: driver.find_elements("css selector", "#search-results li .context")
    )
    result = screen.driver.find_element("css selector", "#search-results li")
    title = result.find_element("css selector", "a").text
    assert re.sub(r"^\d+\. ", "", title) == first
    excerpt = result.find_element("css selector", ".context").text
    assert words in excerpt.lower()
    assert len(excerpt) > 60
    assert screen.log() == []


def test_recording_of_a_lesson_types_its_commands_and_shows_their_output(
    screen: Browser, site: Path
) -> None:
    screen.show(lesson(site, "first-merge"), width=WIDTHS[0])
    page = (
        "[...document.querySelectorAll('div.recorded pre')].map((one) => one.textContent).join('')"
    )
    sessions = screen.js(f"return {page}")
    first = sessions.splitlines()[0]
    screen.js("document.querySelector('.replay-all button').click()")
    WebDriverWait(screen.driver, DEADLINE).until(
        lambda _: first in screen.js("return document.querySelector('dialog pre').textContent")
    )
    done = screen.driver.execute_async_script(
        "const done = arguments[0], step = document.querySelectorAll('.replay-bar button')[1];"
        "const play = document.querySelector('.replay-bar button');"
        "const more = async () => { while (play.textContent !== 'Play again') {"
        "step.click(); await new Promise((after) => setTimeout(after, 0)); }"
        "done([...document.querySelectorAll('dialog pre > div')].map((row) => row.textContent)); };"
        "more();"
    )
    assert [line.strip() for line in done] == [line.strip() for line in sessions.splitlines()]
    assert (
        screen.js(
            "document.querySelectorAll('.replay-bar button')[2].click();"
            "return document.querySelector('dialog').open"
        )
        is False
    )
