"""Test the HTML page of the demonstration, and the drawings, in a real browser, with the data of a real run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browser import CONTRASTS, OUTSIDE, Browser, browser
from harness import CHECKOUT
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

import drawings
from ksmlab.demo import page as demo_page
from ksmlab.demo.record import RunRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver.remote.webelement import WebElement

DATA = CHECKOUT / "tests/unit/data/demo-run.json"
IMAGES = CHECKOUT / "docs/images"
SCHEMES = ("light", "dark")
#: The widths of the narrowest phones in use, in pixels.
PHONE = 360
SHOWN = """
return [...document.querySelectorAll("#list tbody tr")].filter((row) => !row.hidden).map((row) => row.innerText)
"""


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return RunRecord.read(DATA)


@pytest.fixture(scope="module")
def page(record: RunRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_page.write(record, tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def screen() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture
def opened(screen: Browser, page: Path) -> Browser:
    screen.show(page)
    return screen


def find(on: Browser, css: str) -> WebElement:
    return on.driver.find_element(By.CSS_SELECTOR, css)


def events(on: Browser) -> list[str]:
    found: list[str] = on.js(SHOWN)
    return found


@pytest.mark.parametrize("width", [PHONE, 1100])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_opens_without_a_word_from_the_console(
    screen: Browser, page: Path, record: RunRecord, width: int, scheme: str
) -> None:
    screen.log()
    screen.show(page, width=width, scheme=scheme)
    assert find(screen, "h1").text == record.title
    assert record.verdict in find(screen, "main").text
    assert screen.log() == []


def test_the_pictures_are_there(opened: Browser, record: RunRecord) -> None:
    assert record.picture is not None
    figures = opened.driver.find_elements(By.CSS_SELECTOR, ".moments figure")
    assert len(figures) == len(record.picture.moments)
    for figure, moment in zip(figures, record.picture.moments, strict=True):
        assert moment.summary in figure.text
        squares = figure.find_elements(By.CSS_SELECTOR, ".cell .face")
        assert len(squares) == len(moment.squares)
        assert all(square.size["width"] > 10 for square in squares[:: len(squares) // 5])
    assert len(opened.driver.find_elements(By.CSS_SELECTOR, ".plots polyline")) >= 3


def test_a_search_narrows_the_events(opened: Browser, record: RunRecord) -> None:
    assert len(events(opened)) == len(record.events)
    one = next(event for event in record.events if event.name == "merge")
    frame = one.text.rsplit("=", 1)[1]
    find(opened, "#search").send_keys(f"{frame.upper()} PROCESS")
    left = events(opened)
    wanted = [event for event in record.events if event.who and frame in event.text]
    assert 0 < len(left) == len(wanted) < len(record.events)
    assert all(frame in row for row in left)
    assert find(opened, "#shown").text == f"{len(left)} of {len(record.events)} events"
    find(opened, "#search").send_keys(" nowhere")
    assert events(opened) == []
    assert find(opened, "#none").is_displayed()
    find(opened, "button[type=reset]").click()
    opened.driver.execute_async_script("setTimeout(arguments[0], 0)")
    assert len(events(opened)) == len(record.events)


def test_events_are_filtered_by_kind_and_by_process(opened: Browser, record: RunRecord) -> None:
    for box in opened.driver.find_elements(By.CSS_SELECTOR, "#filter input[type=checkbox]"):
        if box.get_attribute("value") != "break":
            box.send_keys(Keys.SPACE)
    breaks = [event for event in record.events if event.name == "break"]
    assert len(events(opened)) == len(breaks) > 0
    who = breaks[0].who
    Select(find(opened, "#who")).select_by_visible_text(who)
    assert len(events(opened)) == sum(event.who == who for event in breaks)


def test_a_square_leads_to_the_events_of_its_frame_by_mouse_and_by_keyboard(
    opened: Browser,
) -> None:
    square = find(opened, ".moments figure:nth-child(2) .cell.kernel")
    square.click()
    pfn = square.get_attribute("data-pfn")
    chosen = opened.driver.find_elements(By.CSS_SELECTOR, ".cell.chosen")
    assert {one.get_attribute("data-pfn") for one in chosen} == {pfn}
    assert find(opened, "#search").get_attribute("value") == pfn
    assert events(opened)
    assert all(str(pfn) in row for row in events(opened))
    assert str(pfn) in find(opened, "#told").text

    find(opened, "nav li:last-child a").send_keys(Keys.TAB)
    focused = opened.driver.switch_to.active_element
    assert focused.get_attribute("aria-label").startswith("page ")  # type: ignore[union-attr]
    focused.send_keys(Keys.ARROW_RIGHT)
    beside = opened.driver.switch_to.active_element
    assert beside.get_attribute("aria-label") != focused.get_attribute("aria-label")
    beside.send_keys(Keys.ENTER)
    assert beside.get_attribute("aria-pressed") == "true"
    assert find(opened, "#search").get_attribute("value") == beside.get_attribute("data-pfn")
    beside.send_keys(Keys.SPACE)
    assert find(opened, "#search").get_attribute("value") == ""


def test_everything_that_can_be_used_can_be_reached_by_tab(opened: Browser) -> None:
    seen: dict[str, str] = {}
    find(opened, "body").send_keys(Keys.TAB)
    while (now := opened.driver.switch_to.active_element).id not in seen:
        seen[now.id] = now.get_attribute("id") or now.tag_name
        now.send_keys(Keys.TAB)
    names = list(seen.values())
    assert {"search", "who", "button", "summary", "input"} <= set(names)
    # Only one square of each picture can be reached by Tab; the arrow keys move to the others.
    assert names.count("g") == 3


def test_day_and_night_differ_and_both_can_be_read(screen: Browser, page: Path) -> None:
    backs = set()
    for scheme in SCHEMES:
        screen.show(page, scheme=scheme)
        screen.js("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        backs.add(screen.js("return getComputedStyle(document.body).backgroundColor"))
        texts = screen.js(CONTRASTS)
        assert len(texts) > 500
        assert [text for text in texts if text[0] < 4.5] == []
    assert len(backs) == 2


@pytest.mark.parametrize("width", [PHONE, 320])
def test_nothing_is_wider_than_a_phone(screen: Browser, page: Path, width: int) -> None:
    screen.show(page, width=width)
    screen.js("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    wide, room = screen.js(
        "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    )
    assert room <= width
    assert wide <= room


@pytest.mark.parametrize("name", [*drawings.NAMES, "merge", "performance"])
def test_text_of_a_drawing_stays_on_it(screen: Browser, name: str) -> None:
    screen.log()
    screen.show(IMAGES / f"{name}.svg")
    assert screen.js("return document.querySelectorAll('text').length") > 5
    assert screen.js(OUTSIDE) == []
    assert screen.log() == []


def test_a_recording_plays_and_can_be_read(screen: Browser) -> None:
    """The text is drawn by reference (<use>), to which style sheets do not apply directly."""
    inks = set()
    for scheme in SCHEMES:
        screen.log()
        screen.show(IMAGES / "demo.svg", scheme=scheme)
        assert screen.js("return document.getAnimations().length") == 1
        assert screen.js("return document.querySelectorAll('use').length") > 50
        inks.add(screen.js("return getComputedStyle(document.querySelector('defs text')).fill"))
        assert screen.log() == []
    assert len(inks) == 2


@pytest.mark.parametrize("name", [*drawings.NAMES, "merge", "performance", "demo"])
def test_a_drawing_follows_day_and_night(screen: Browser, name: str) -> None:
    found = set()
    for scheme in SCHEMES:
        screen.show(IMAGES / f"{name}.svg", scheme=scheme)
        found.add(screen.js("return getComputedStyle(document.querySelector('.card')).fill"))
    assert len(found) == 2
