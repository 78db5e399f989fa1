"""What pages of the documentation name is there, and what they list is all that there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from ksmlab.demo import curves
from ksmlab.lessons import source
from ksmlab.pytest_plugin.guest import LOCAL_OPTIONS
from ksmlab.site import definitions
from ksmlab.sysfs import Counters, KsmSysfs

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("docs/how-to/*.md"),
        *ROOT.glob("docs/explanation/*.md"),
        *ROOT.glob("docs/reference/*.md"),
    ]
)
LESSONS = sorted(ROOT.glob("docs/lessons/[0-9]*.md"))
TEST = re.compile(r"`(test_\w+)`")
FUNCTION = re.compile(r"`(ksm_\w+)\(\)`")
MUTANT = re.compile(r"[Mm]utant \*([^*]+)\*")
DRAWING = re.compile(r"!\[[^\]]*\]\(([^)\s]+\.svg)\)")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
#: Functions of the driver of 2009, in which the lesson about its history finds bugs.
HISTORICAL = {"ksm_scan_start", "ksm_sma_ioctl", "ksm_sma_ioctl_register_memory_region"}


def defined() -> set[str]:
    """Give the names of all tests of this repository."""
    return {
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES + LESSONS, ids=lambda page: page.stem)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    assert not set(TEST.findall(page.read_text())) - defined()


@pytest.mark.parametrize("page", PAGES + LESSONS, ids=lambda page: page.stem)
def test_every_function_of_the_driver_that_a_page_names_is_there(page: Path) -> None:
    code = "".join(path.read_text() for path in ROOT.glob("kernel/*.[ch]"))
    # Functions that have another name in the object files.
    renamed = set(re.findall(r"^#define \w+\s+(ksm_\w+)$", code, re.MULTILINE))
    named = set(FUNCTION.findall(page.read_text())) - renamed
    if page.stem == "19-from-2009-to-today":
        assert named >= HISTORICAL
        named -= HISTORICAL
    assert not [name for name in sorted(named) if f"{name}(" not in code]


def constant(path: str, name: str) -> str:
    """Return the value of a macro, as its definition has it.

    Raises:
        AssertionError: the file has no such macro.
    """
    found = re.search(
        rf"^#define {name}\s+(.*?)(?:\s*/\*.*)?$", (ROOT / path).read_text(), re.MULTILINE
    )
    assert found, f"{path} has no {name}"
    return found[1]


def test_arithmetic_of_counter_overflow_follows_the_driver() -> None:
    assert constant("kernel/ksm.h", "KSM_MAX_SHARING") == "(INT_MAX / PID_MAX_LIMIT)"
    processes = 4 * 1024 * 1024
    most = ((1 << 31) - 1) // processes
    page = (ROOT / "docs/explanation/threat-model.md").read_text()
    section = " ".join(page.partition("## Counter overflow")[2].split())
    assert f"at most {most})" in section
    assert f"2^22 = {processes:,} process IDs" in section
    assert f"2^22 times {most} = {processes * most:,} mappings" in section
    assert f"{(1 << 31) - processes * most:,} less than 2^31" in section


def test_pages_state_how_often_and_how_much_the_driver_reaps() -> None:
    assert "&ksm_reap_work, HZ / 2);" in (ROOT / "kernel/core.c").read_text()
    assert constant("kernel/node.c", "NODES_PER_CALL") == "(1 << 16)"
    page = (ROOT / "docs/explanation/lifetimes.md").read_text()
    assert "twice a second" in page
    assert f"at most {1 << 16:,} of them" in page


def test_what_makes_it_fast_states_the_width_of_the_hash() -> None:
    bits = int(constant("kernel/index.h", "KSM_HASH_BITS"))
    page = " ".join((ROOT / "docs/explanation/what-makes-it-fast.md").read_text().split())
    assert f"A hash has {bits} bits" in page
    thousand_millions = round((1 << bits) / (1 << 22) / 1e9)
    assert f"one search in {thousand_millions} thousand million" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_page_has_an_unfilled_placeholder(page: Path) -> None:
    assert re.findall(r"@@\w+@@", page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_mutant_that_a_page_names_is_there(page: Path) -> None:
    text = (ROOT / "tests/host/mutants.py").read_text()
    for name in MUTANT.findall(page.read_text()):
        assert f'name="{" ".join(name.split())}"' in text


def test_each_reason_to_leave_a_page_alone_has_an_advice() -> None:
    reasons = re.findall(r'SKIPPED\(\w+, "(\w+)"\)', (ROOT / "kernel/sysfs.c").read_text())
    page = (ROOT / "docs/how-to/watch-and-tune.md").read_text()
    table = page.partition("| `skipped/` |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(reasons)


def test_every_page_is_in_the_table_and_in_the_links_of_its_part() -> None:
    """The table is for the site; without it, a reader has the links only."""
    for page in PAGES:
        if page.stem != "index":
            index = page.with_name("index.md").read_text()
            assert re.search(rf"^{page.stem}$", index, re.MULTILINE), page
            assert re.search(rf"^- \[.*\]\({page.name}\)$", index, re.MULTILINE), page


def test_tutorial_links_every_lesson_with_its_title_and_minutes() -> None:
    index = (ROOT / "docs/lessons/index.md").read_text()
    links = [
        f"- [{lesson.title}]({lesson.path.name}) ({lesson.minutes} minutes)"
        for lesson in source.read_all().values()
    ]
    assert re.findall(r"^- .*$", index, re.MULTILINE) == links


def test_every_kernel_is_on_the_page_of_kernels() -> None:
    page = (ROOT / "docs/reference/kernels.md").read_text()
    named = re.findall(r"^\| (.*?) \|", page, re.MULTILINE)[1:]
    listed = [name for cell in named for name in re.findall(r"`([\w.-]+)`", cell)]
    assert sorted(listed) == sorted(tomllib.loads((ROOT / "vm/kernels.toml").read_text()))


def test_layout_lists_every_directory_of_code_and_nothing_else() -> None:
    page = (ROOT / "docs/reference/layout.md").read_text()
    listed = set(re.findall(r"^\| `([\w/]+)` \|", page, re.MULTILINE))
    assert not [path for path in listed if not (ROOT / path).is_dir()]
    code = {
        path.parent.relative_to(ROOT).as_posix()
        for pattern in ("python/ksmlab/*/__init__.py", "tests/*/test_*.py", "docs/*/__init__.py")
        for path in ROOT.glob(pattern)
    }
    assert code <= listed


def prose(text: str) -> str:
    """Return the text of a page without its code blocks."""
    return re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda page: page.stem,
)
def test_page_that_shows_pages_shared_gives_the_name_that_mainline_has(page: Path) -> None:
    """The name can be in a code block or in a drawing; the text of the page explains it."""
    text = page.read_text()
    drawings = [(page.parent / name).read_text() for name in DRAWING.findall(text)]
    if any(re.search(r"\bpages_shared\b", shown) for shown in (text, *drawings)):
        assert "pages_sharing" in prose(text) or "glossary.md#pages_shared" in text


def test_comment_that_names_pages_shared_gives_the_name_that_mainline_has() -> None:
    comments = [
        comment
        for path in sorted((ROOT / "kernel").rglob("*.[ch]"))
        for comment in COMMENT.findall(path.read_text())
        if re.search(r"\bpages_shared\b", comment)
    ]
    assert len(comments) >= 3
    assert [one for one in comments if "pages_sharing" not in one] == []


def test_every_definition_of_pages_shared_gives_the_name_that_mainline_has() -> None:
    (attribute,) = (each for each in definitions.attributes() if each.name == "pages_shared")
    fields = [
        {each.shown: each.meaning for each in event.fields} for event in definitions.tracepoints()
    ]
    said = [found["pages_shared"] for found in fields if "pages_shared" in found]
    assert said
    said += [attribute.meaning, curves.COUNTERS["pages_shared"]]
    said += [KsmSysfs.pages_shared.__doc__ or "", Counters.__doc__ or ""]
    paths = list((ROOT / "docs/lessons/exercises").rglob("*.py"))
    said += [
        line
        for path in paths
        for line in path.read_text().splitlines()
        if '"""' in line and "pages_shared" in line
    ]
    assert len(said) >= 9
    assert [one for one in said if "pages_sharing" not in one] == []


def test_no_c_file_is_longer_than_last_lesson_says() -> None:
    text = (ROOT / "docs/lessons/19-from-2009-to-today.md").read_text()
    (most,) = re.findall(r"no `\.c` file has more than (\d+) lines", text)
    long = {
        path.name: lines
        for path in (ROOT / "kernel").glob("*.c")
        if (lines := len(path.read_text().splitlines())) > int(most)
    }
    assert not long


def test_options_that_a_page_calls_ignored_are_reset_in_the_guest() -> None:
    names = {
        "--pdb": "usepdb", "--trace": "trace", "--setup-show": "setupshow",
        "--setup-only": "setuponly", "--setup-plan": "setupplan",
    }  # fmt: skip
    page = (ROOT / "docs/how-to/testing-your-module.md").read_text()
    ignored = [
        option
        for row in re.findall(r"^\| (`--.*?) \| ignored", page, re.MULTILINE)
        for option in re.findall(r"`(--[\w-]+)`", row)
    ]
    assert sorted(ignored) == sorted(names)
    for option in ignored:
        assert LOCAL_OPTIONS[names[option]] is False


def test_example_project_uses_a_tested_kernel_as_this_project_describes_it() -> None:
    page = (ROOT / "docs/how-to/testing-your-module.md").read_text()
    described = page.partition("`kernels.toml`:\n\n```toml\n")[2].partition("```")[0]
    tested = tomllib.loads((ROOT / "vm/kernels.toml").read_text())
    for name, kernel in tomllib.loads(described).items():
        assert kernel | {"tested": True} == tested[name]
        assert f"vm_default_kernels = {name}\n" in page
        assert f"$ .venv/bin/pytest --kernel {name}\n" in page


def test_listing_in_install_has_every_sysfs_file() -> None:
    page = (ROOT / "docs/how-to/install.md").read_text()
    listing = page.partition("$ ls /sys/kernel/mm/ksm_dev\n")[2].partition("```")[0]
    files = {each.name for each in definitions.attributes()}
    assert sorted(listing.split()) == sorted(files | {"skipped"})
