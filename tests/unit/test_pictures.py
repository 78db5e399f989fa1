"""Pictures of an arena: from the stored data of a real run, and from data made for the purpose."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ksmlab import cli
from ksmlab.pictures import layout
from ksmlab.pictures.cli import photograph, stored
from ksmlab.pictures.model import Moment, Picture, Square, Strip
from ksmlab.pictures.plan import FEWEST_PAGES, MOST_PAGES, SHARES, Plan
from ksmlab.pictures.render import style, svg
from ksmlab.stored import FormatError
from ksmlab.vm.errors import VmError

DATA = Path(__file__).with_name("data") / "picture.json"
README_IMAGE = Path(__file__).resolve().parents[2] / "docs/images/merge.svg"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def picture() -> Picture:
    return Picture.read(DATA)


@pytest.fixture(scope="module")
def drawn(picture: Picture) -> ET.Element:
    return ET.fromstring(svg(picture))


def cells(root: ET.Element) -> list[ET.Element]:
    return [one for one in root.iter(f"{SVG}g") if "cell" in one.get("class", "").split()]


def moment(*squares: Square) -> Moment:
    return Moment("now", (Strip("", squares),))


@pytest.mark.parametrize("npages", [FEWEST_PAGES, 96, MOST_PAGES])
def test_the_plan_adds_up(npages: int) -> None:
    plan = Plan(npages)
    keys = plan.keys()
    assert len(keys) == npages
    assert len(set(keys)) == npages - plan.pages_shared
    assert set(plan.labels().values()) == set("ABCDEF"[: len(SHARES)])
    written = plan.written()
    assert len(set(written)) == 2
    assert all(page in plan.labels() for page in written)


def test_the_run_shows_what_merging_does(picture: Picture) -> None:
    plan = Plan()
    before, after, at_last = picture.moments
    assert (before.frames, after.frames) == (96, 96 - plan.pages_shared)
    assert at_last.frames == after.frames + len(plan.written())
    assert not before.shared
    assert len(after.shared) == len(SHARES)
    assert all(square.mapped == 1 and not square.kernel for square in before.squares)
    for square in after.squares:
        assert square.kernel == bool(square.label) == (square.mapped > 1)
    assert [square.page for square in at_last.squares if square.written] == sorted(plan.written())


def test_it_is_stored_and_read_again(picture: Picture, tmp_path: Path) -> None:
    picture.write(tmp_path / "a.json")
    assert Picture.read(tmp_path / "a.json") == picture


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(json.loads(DATA.read_text()) | {"format": 0}))
    with pytest.raises(FormatError, match="format 0"):
        Picture.read(path)
    with pytest.raises(VmError, match="A picture cannot be read from"):
        stored(path)
    with pytest.raises(VmError, match="A picture cannot be read from"):
        stored(tmp_path / "none.json")


def test_every_page_is_a_square_with_its_numbers(picture: Picture, drawn: ET.Element) -> None:
    found = cells(drawn)
    squares = [square for one in picture.moments for square in one.squares]
    assert len(found) == len(squares) == 3 * 96
    for cell, square in zip(found, squares, strict=True):
        title = cell.findtext(f"{SVG}title") or ""
        assert title.startswith(f"page {square.page}: frame {square.pfn:#x}, mapped ")
        assert ("a kernel page" in title) == square.kernel


def test_a_frame_has_one_colour_and_a_colour_in_sight_one_frame(drawn: ET.Element) -> None:
    colours: dict[str, set[str]] = {}
    for cell in cells(drawn):
        for name in re.findall(r"\bc\d\b", cell.get("class", "")):
            colours.setdefault(name, set()).add(cell.get("data-pfn", ""))
    assert len(colours) == len(SHARES)
    assert all(len(frames) == 1 for frames in colours.values())


def test_squares_do_not_overlap_and_stay_within(picture: Picture) -> None:
    for panel in layout.panels(picture):
        places = {(cell.x, cell.y) for cell in panel.cells}
        assert len(places) == len(panel.cells)
        assert max(x for x, _ in places) + layout.SIDE <= panel.width
        assert max(y for _, y in places) + layout.SIDE <= panel.height


def test_neutral_shared_kernel_written_and_absent_look_different() -> None:
    own = Square(0, 1, 1, kernel=False)
    now = moment(
        own,
        Square(1, 2, 2, kernel=False),
        Square(2, 2, 2, kernel=False),
        Square(3, 3, 1, kernel=True),
        replace(own, page=4, pfn=4, written=True),
        Square(5, 0, 0, kernel=False),
    )
    made = Picture("a command", "a kernel", (now,))
    (panel,) = layout.panels(made)
    css = [cell.css for cell in panel.cells]
    assert css == ["own", "c0", "c0", "c1 kernel", "own written", "absent"]
    titles = [str(square) for square in now.squares]
    assert titles[3] == "page 3: frame 0x3, mapped once, a kernel page"
    assert titles[5] == "page 5: not present"


def test_more_frames_than_colours() -> None:
    pairs = [Square(2 * n + i, n + 1, 2, kernel=True) for n in range(20) for i in range(2)]
    made = Picture("", "", (moment(*pairs),))
    assert len(made.colours()) == 20
    known = re.findall(r"\.c(\d) rect", style())
    assert sorted(map(int, known)) == list(range(layout.COLOURS))
    used = {name for cell in layout.panels(made)[0].cells for name in cell.css.split()}
    assert used == {f"c{number}" for number in range(layout.COLOURS)} | {"kernel"}


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (layout.COLOURS, "one colour for each frame"),
        (
            layout.COLOURS + 1,
            f"{layout.COLOURS} colours, which repeat, for {layout.COLOURS + 1} frames",
        ),
    ],
)
def test_legend_promises_one_colour_a_frame_only_if_no_colour_repeats(
    frames: int, words: str
) -> None:
    pairs = [Square(2 * n + i, n + 1, 2, kernel=True) for n in range(frames) for i in range(2)]
    made = Picture("", "", (moment(*pairs),))
    used = {cell.css: cell.square.pfn for cell in layout.panels(made)[0].cells}
    assert (len(used) == frames) == words.startswith("one colour")
    root = ET.fromstring(svg(made))
    assert any(words in (text.text or "") for text in root.iter(f"{SVG}text"))
    assert words in (root.findtext(f"{SVG}desc") or "")


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_letters_can_be_read_on_every_colour() -> None:
    (ink,) = set(re.findall(r"text-anchor: middle; fill: (#\w{6})", style()))
    fills = re.findall(r"\.c\d rect { fill: (#\w{6})", style())
    assert len(fills) == layout.COLOURS
    for fill in fills:
        assert contrast(ink, fill) >= 4.5, fill


def test_day_and_night(drawn: ET.Element) -> None:
    text = drawn.findtext(f"{SVG}style") or ""
    day, night = text.split("@media (prefers-color-scheme: dark)")
    for part in (day, night):
        values = dict(re.findall(r"--(\w[\w-]*): (#\w{6})", part))
        assert contrast(values["ink"], values["back"]) >= 7
        assert contrast(values["dim"], values["own"]) >= 4.5


def test_picture_is_legible_on_a_phone(drawn: ET.Element) -> None:
    assert float(drawn.get("width", "inf")) <= 390
    sizes = [int(size) for size in re.findall(r"(?:font-size: |font: )(\d+)px", style())]
    assert min(sizes) >= 12


def test_it_needs_nothing_from_elsewhere(drawn: ET.Element) -> None:
    assert not [one for one in drawn.iter() if one.get("href") or one.tag == f"{SVG}script"]


def test_what_comes_from_outside_is_text(picture: Picture) -> None:
    root = ET.fromstring(svg(picture.named(command="<b>", kernel="&")))
    assert any("<b>" in (one.text or "") for one in root.iter(f"{SVG}text"))


def test_the_readme_shows_this_run(picture: Picture) -> None:
    """If it does not: ksmlab picture --render tests/unit/data/picture.json --out docs/images/merge.svg."""
    assert README_IMAGE.read_text() == svg(picture)


def test_the_command_draws_what_is_stored(tmp_path: Path) -> None:
    out = tmp_path / "a/b.svg"
    result = CliRunner().invoke(cli.app, ["picture", "--render", str(DATA), "--out", str(out)])
    assert result.exit_code == 0
    assert result.output.strip() == str(out)
    assert out.read_text() == README_IMAGE.read_text()


def test_an_arena_has_no_more_pages_than_can_be_seen() -> None:
    result = CliRunner().invoke(cli.app, ["picture", "--pages", str(MOST_PAGES + 1)])
    assert result.exit_code == 2


def test_a_picture_that_cannot_be_taken_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "last.json"
    store.write_text("the last one")
    with pytest.raises(VmError, match="no kernel called none"):
        photograph("none", FEWEST_PAGES, store)
    assert store.read_text() == "the last one"
    with pytest.raises(VmError, match="cannot be written: Not a directory"):
        photograph("debian-6.1", FEWEST_PAGES, store / "x/new.json")
