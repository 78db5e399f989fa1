"""README.md: its length, its links, and the figures that it shows."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from spoken import spoken

from ksmlab.bench import baseline, comparison
from ksmlab.bench.cli import CHECK_SIZE
from ksmlab.bench.kept import COUNTED, DATA, KeptError, Measured
from ksmlab.bench.plan import HASH

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
FRONT_PAGE = ROOT / "docs/index.md"
MEASUREMENTS = ROOT / "docs/explanation/measurements.md"
TUTORIAL = ROOT / "docs/lessons/index.md"
LINK = re.compile(r"\]\(([^)\s]+)\)")
#: Two minutes at 170 words a minute.
SPOKEN_WORDS = 340
#: Pages of a workload in docs/data/bench-counted.json.
COUNTED_SIZE = 8192
#: Figures that do not depend on the number of pages.
OF_ONE_PAGE = ("write_fault_ns", "unmerge_page_ns", "remove_page_ns")


@pytest.fixture(scope="module")
def counted() -> Measured:
    return Measured.read(COUNTED)


@pytest.fixture(scope="module")
def timed() -> Measured:
    return Measured.read(DATA)


def anchors(path: Path) -> set[str]:
    """Return what a link may name after a #: headings as a forge turns them into ids, and MyST targets."""
    text = path.read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def test_readme_has_under_120_lines_of_at_most_120_columns() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) < 120
    assert not [
        line for line in lines if len(line) > 120 and not line.startswith("![") and "](" not in line
    ]


def test_readme_is_read_aloud_in_two_minutes() -> None:
    assert len(spoken(README.read_text())) <= SPOKEN_WORDS


@pytest.mark.parametrize(
    "page", [README, FRONT_PAGE, TUTORIAL], ids=["README", "index", "tutorial"]
)
def test_links_work_without_the_site(page: Path) -> None:
    links = LINK.findall(page.read_text())
    assert len(links) > 5
    for link in links:
        path, _, fragment = link.partition("#")
        target = page.parent / path
        assert target.is_file(), link
        assert not fragment or fragment in anchors(target), link


def test_readme_front_page_and_tutorial_link_to_each_other() -> None:
    assert {"docs/index.md", "docs/lessons/index.md"} <= set(LINK.findall(README.read_text()))
    assert {"../README.md", "lessons/index.md"} <= set(LINK.findall(FRONT_PAGE.read_text()))
    assert {"../../README.md", "../index.md"} <= set(LINK.findall(TUTORIAL.read_text()))


@pytest.mark.parametrize("path", ["README.md", "docs/index.md", "kernel/main.c"])
def test_authors_of_the_series_are_credited(path: str) -> None:
    text = (ROOT / path).read_text()
    for author in ("Izik Eidus", "Andrea Arcangeli", "Chris Wright", "Hugh Dickins"):
        assert author in text


def test_readme_names_the_tested_kernel_versions() -> None:
    tested = re.search(
        r"tested on (Linux [\d.]+ and [\d.]+)", (ROOT / "kernel/compat.h").read_text()
    )
    assert tested
    assert tested[1] in " ".join(README.read_text().split())


def test_table_shows_the_stored_results(counted: Measured, timed: Measured) -> None:
    text = README.read_text()
    hint = "run: python -m ksmlab.bench.comparison"
    assert comparison.readme(text, counted, timed) == text, hint
    assert comparison.CHART.read_text() == comparison.svg(counted, timed), hint


def test_table_shows_every_missed_kind_of_target(timed: Measured) -> None:
    missed = [one for one in timed.verdicts if one.kernel == comparison.KERNEL and not one.met]
    assert missed
    assert {(one.metric, one.versus) for one in missed} <= set(comparison.KINDS)


def test_text_without_a_place_for_the_table_is_refused(counted: Measured, timed: Measured) -> None:
    with pytest.raises(KeptError, match="0 places"):
        comparison.readme("# Nothing\n", counted, timed)


def test_row_that_was_not_measured_is_named(counted: Measured, timed: Measured) -> None:
    with pytest.raises(KeptError, match="all_equal cpu_to_goal_ns in_kernel"):
        comparison.block(Measured("ksmlab bench", "", "", "", ()), timed)


def test_counted_results_agree_with_the_baseline(counted: Measured) -> None:
    """If not, count again: see docs/how-to/benchmark.md."""
    costs = baseline.read().costs
    checked = 0
    for one in counted.verdicts:
        cost = costs.get((one.kernel, one.workload, HASH, one.metric))
        if cost is not None and one.ours is not None:
            scale = 1 if one.metric in OF_ONE_PAGE else COUNTED_SIZE / CHECK_SIZE
            assert one.ours / scale == pytest.approx(cost.ns, rel=0.15), one
            checked += 1
    assert checked >= len([row for row in comparison.ROWS if row.charted]) - 2


def test_chart_fits_a_phone_in_light_and_in_dark(counted: Measured, timed: Measured) -> None:
    root = ET.fromstring(comparison.svg(counted, timed))
    style = root.findtext("{http://www.w3.org/2000/svg}style") or ""
    assert "prefers-color-scheme: dark" in style
    smallest = min(float(size) for size in re.findall(r"(?:font-size: |font: )(\d+)px", style))
    assert smallest * 390 / float(root.get("width", "inf")) >= 11
    # A letter is about 0.6 of its size wide.
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        words = text.text or ""
        assert (
            float(text.get("x", "0")) + len(words) * 14 * 0.6 <= float(root.get("width", "0")) + 8
        )


def code(sources: dict[str, str]) -> dict[str, str]:
    """Return the code of C sources, without comments and blanks."""
    comments = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
    return {path: "".join(comments.sub("", text).split()) for path, text in sources.items()}


def driver_at(commit: str) -> dict[str, str]:
    """Return the sources of the driver in a commit."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, "kernel"], capture_output=True, check=False
    )
    if done.returncode:
        reason = done.stderr.decode().strip()
        shallow = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "--is-shallow-repository"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if shallow.stdout.strip() != "false":
            pytest.skip(f"this checkout does not have commit {commit}: {reason}")
        pytest.fail(f"The stored times are of a commit that is not in the history: {reason}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        files = {
            one.name: archive.extractfile(one)
            for one in archive
            if one.isfile() and one.name.endswith((".c", ".h"))
        }
        return {path: file.read().decode() for path, file in files.items() if file}


def test_pages_give_the_age_of_the_stored_times(timed: Measured) -> None:
    """If not: measure again (docs/how-to/benchmark.md), or say that the times are of an older version."""
    now = {
        str(path.relative_to(ROOT)): path.read_text()
        for path in (ROOT / "kernel").rglob("*.[ch]")
        if not path.name.endswith(".mod.c")
    }
    old = code(driver_at(timed.commit)) != code(now)
    version = "an older" if old else "this"
    readme, page = (" ".join(path.read_text().split()) for path in (README, MEASUREMENTS))
    assert (
        f"*timed* median times under emulation, of {version} version ({timed.when[:10]})" in readme
    )
    assert ("The times below are older than" in page) == old


def test_code_ignores_comments_and_blanks() -> None:
    assert code({"a.c": "int a; /* b\n */\n// c\n"}) == code({"a.c": "int  a;\n"})


def test_ratios_are_written_with_two_digits() -> None:
    assert [comparison.short(ratio) for ratio in (110.2, 9.96, 2.94, 0.0077)] == [
        "110x", "10.0x", "2.9x", "0.008x",
    ]  # fmt: skip
