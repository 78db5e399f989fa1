"""Pages state constants of the driver. Each stated value is compared with the definition in the source."""

from __future__ import annotations

import ast
import ctypes
import functools
import inspect
import operator
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ksmlab import abi
from ksmlab.bench import cli
from ksmlab.bench.workloads import WORKLOADS, WRITERS
from ksmlab.lessons import driver_tests, excerpt, exercise

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
KERNEL = ROOT / "kernel"
#: Constants of Linux on x86-64.
LINUX = {"L1_CACHE_BYTES": 64, "PAGE_SIZE": 4096, "PMD_SIZE": 2 << 20,
         "INT_MAX": (1 << 31) - 1, "PID_MAX_LIMIT": 4 << 20}  # fmt: skip
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
         "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"]  # fmt: skip
#: Constants of the benchmark.
BENCH: dict[str, int] = {
    "NR_WORKLOADS": len(WORKLOADS),
    "RUNS": inspect.signature(cli.bench).parameters["runs"].default,
    "NR_PAGES": cli.SIZE,
    "LARGER": cli.FACTORS[0],
    "LARGEST": cli.FACTORS[1],
    "WRITERS": WRITERS,
}
CONSTANTS = LINUX | BENCH
SIZES = """
typedef unsigned int u32;
typedef unsigned long long u64;
struct rb_node {{ unsigned long parent; struct rb_node *right, *left; }};
struct list_head {{ struct list_head *next, *prev; }};
struct llist_node {{ struct llist_node *next; }};
#define KSM_HASH_BITS {bits}
{structures}
const int ITEM_HASH = __builtin_offsetof(struct ksm_item, entry) + sizeof(struct ksm_entry *);
const int ITEM_TREE = __builtin_offsetof(struct ksm_item, entry) + sizeof(struct rb_node);
const int NODE_HASH = __builtin_offsetof(struct ksm_node, entry) + sizeof(struct ksm_entry *);
const int NODE_TREE = __builtin_offsetof(struct ksm_node, entry) + sizeof(struct rb_node);
"""
PLACE = re.compile(r"\{(?:word)?\}")


@dataclass(frozen=True)
class Stated:
    """A sentence of a page that states a value of the driver.

    Attributes:
        page: The path of the page.
        text: A part of the sentence: {} for the value in digits, {word} for the value as a word.
        value: An expression in C, of macros of the driver, defaults of its settings, CONSTANTS, and sizes().
    """

    page: str
    text: str
    value: str

    def shown(self, value: int) -> str:
        """Return a value as the page shall state it."""
        return WORDS[value] if "{word}" in self.text else f"{value:,}"


LESSON_02 = "docs/lessons/02-abi-by-hand.md"
LESSON_05 = "docs/lessons/05-finding-equal-pages.md"
LESSON_07 = "docs/lessons/07-page-table.md"
LESSON_08 = "docs/lessons/08-page-wrprotect.md"
LESSON_09 = "docs/lessons/09-tlb-shootdown.md"
LESSON_15 = "docs/lessons/15-what-it-costs.md"
LESSON_18 = "docs/lessons/18-ksm-today.md"
FAST = "docs/explanation/what-makes-it-fast.md"
MERGE = "docs/explanation/merge.md"
THREATS = "docs/explanation/threat-model.md"
LIFETIMES = "docs/explanation/lifetimes.md"
CHOICES = "docs/explanation/choices.md"
REFERENCES = "docs/explanation/references-and-pins.md"
TUNE = "docs/how-to/watch-and-tune.md"
GLOSSARY = "docs/glossary.md"
LONGEST_SKIP = "1 << (KSM_IDLE_MAX - KSM_IDLE_MIN)"

STATED = [
    # How many pages are examined, hashed, replaced and unmerged in one step.
    Stated("docs/lessons/01-first-merge.md", "examines up to {} pages, sleeps", "pages_to_scan"),
    Stated("docs/lessons/01-first-merge.md", "sleeps for {} ms", "sleep / 1000"),
    Stated("docs/lessons/01-first-merge.md", "({} µs)", "sleep"),
    Stated(LESSON_05, "first collects up to {} candidates", "KSM_BATCH"),
    Stated(LESSON_05, "all from the same {} MiB", "PMD_SIZE >> 20"),
    Stated(LESSON_07, "it hashes at most {} pages", "KSM_BATCH"),
    Stated(LESSON_07, "or replaces at most {}", "WRPROTECT_MAX_PAGES"),
    Stated(LESSON_08, "at most {} pages (`WRPROTECT_MAX_PAGES`)", "WRPROTECT_MAX_PAGES"),
    Stated(LESSON_09, "changes up to {} entries for one flush", "WRPROTECT_MAX_PAGES"),
    Stated(LESSON_09, "clears up to {} entries and then flushes", "WRPROTECT_MAX_PAGES"),
    Stated(LESSON_09, "At {} pages for each flush", "WRPROTECT_MAX_PAGES"),
    Stated(LESSON_09, "clears up to {} entries, flushes once", "WRPROTECT_MAX_PAGES"),
    Stated(
        "docs/lessons/11-other-page-tables.md", "a group of up to {} pages", "WRPROTECT_MAX_PAGES"
    ),
    Stated(
        "docs/lessons/13-locking.md",
        "finds up to {} merged items (`UNMERGE_BATCH`)",
        "UNMERGE_BATCH",
    ),
    Stated(FAST, "hashes up to {} pages", "KSM_BATCH"),
    Stated(FAST, "within {} pages of each other", "WRPROTECT_MAX_PAGES"),
    Stated(FAST, "while the scanner hashes {} pages", "KSM_BATCH"),
    Stated(FAST, "compares and replaces {}.", "WRPROTECT_MAX_PAGES"),
    Stated(MERGE, "a range of at most {} pages", "WRPROTECT_MAX_PAGES"),
    Stated(MERGE, "At most {} entries are empty at once", "WRPROTECT_MAX_PAGES"),
    Stated(MERGE, "A TLB flush covers at most {} pages", "WRPROTECT_MAX_PAGES"),
    Stated(CHOICES, "at most {} pages", "WRPROTECT_MAX_PAGES"),
    Stated(THREATS, "after at most {} items", "ITEMS_PER_HOLD"),
    Stated(THREATS, "after at most {} nodes", "NODES_PER_HOLD"),
    Stated(GLOSSARY, "at most {} of them hashed", "KSM_BATCH"),
    Stated(GLOSSARY, "a range of at most {} pages", "WRPROTECT_MAX_PAGES"),
    Stated("docs/how-to/benchmark.md", "up to {} pages later", "KSM_BATCH"),
    # How rarely idle memory is scanned.
    Stated(LESSON_15, "an idle chunk in one pass of {}", f"({LONGEST_SKIP}) + 1"),
    Stated(LESSON_15, "it hashes an unchanged page in one pass of {}.", LONGEST_SKIP),
    Stated(LESSON_15, "at least {} passes of the driver", f"({LONGEST_SKIP}) + 1"),
    Stated(LESSON_15, "one pass in every 2, 4, 8, 16 or {} hashes", LONGEST_SKIP),
    Stated(LESSON_15, "the period is at most {}", LONGEST_SKIP),
    Stated(LESSON_15, "[chunks](../glossary.md#chunk) of {} pages", "KSM_CHUNK_PAGES"),
    Stated(LESSON_15, "allocates an array for all {} pages", "KSM_CHUNK_PAGES"),
    Stated(LESSON_18, "*chunks* of {} pages", "KSM_CHUNK_PAGES"),
    Stated(LESSON_18, "for up to {} passes", LONGEST_SKIP),
    Stated(FAST, "items of the {} pages", "KSM_CHUNK_PAGES"),
    Stated(FAST, "is idle for {word} passes", "KSM_IDLE_MIN"),
    Stated(FAST, "and so on, up to {}.", LONGEST_SKIP),
    Stated(FAST, "found unchanged {word} times is hashed in every second", "KSM_IDLE_MIN + 1"),
    Stated(FAST, "finally in one of {}.", LONGEST_SKIP),
    Stated(FAST, "an array of {}, allocated", "KSM_CHUNK_PAGES"),
    Stated(GLOSSARY, "items of the {} pages", "KSM_CHUNK_PAGES"),
    # Hashes, samples and collisions.
    Stated(LESSON_05, "{word} cache lines, that is", "LINES"),
    Stated(LESSON_05, "{} of the 4,096 bytes", "LINES * L1_CACHE_BYTES"),
    Stated(LESSON_05, "256 of the {} bytes", "PAGE_SIZE"),
    Stated(LESSON_05, "for more than {} passes", "EXPIRE_PASSES"),
    Stated(LESSON_05, "only once every {} bytes", "EQUAL_STEP"),
    Stated(FAST, "hashes {word} cache lines of a page", "LINES"),
    Stated(FAST, "for {} passes. So the cost", "EXPIRE_PASSES"),
    Stated(FAST, "stores the highest {} bits of a sample", "KEY_BITS"),
    Stated(FAST, "only one page in {} is hashed completely", "1 << (KEY_BITS - 20)"),
    Stated(FAST, "one cache line of {} bytes", "L1_CACHE_BYTES"),
    Stated(FAST, "a probability of 1 in {}", "PAGE_SIZE / L1_CACHE_BYTES / LINES"),
    Stated(FAST, "A hash has {} bits", "KSM_HASH_BITS"),
    Stated(FAST, "the highest {} bits of the hash come from the sample", "KEY_BITS"),
    Stated(FAST, "the other {} bits", "KSM_HASH_BITS - KEY_BITS"),
    Stated(FAST, "a chance of one in 2^{}", "KSM_HASH_BITS - KEY_BITS"),
    Stated(CHOICES, "hashes {word} cache lines of a page", "LINES"),
    Stated(THREATS, "{} bytes of a page. But after one failed merge", "LINES * L1_CACHE_BYTES"),
    Stated(GLOSSARY, "{word} cache lines of a page", "LINES"),
    Stated(GLOSSARY, "no such page for {} passes", "EXPIRE_PASSES"),
    # Sizes of the metadata.
    Stated(FAST, "An item has {} bytes: one word", "ITEM_HASH"),
    Stated(FAST, "A node has {} bytes", "NODE_HASH"),
    Stated(FAST, "With `index=tree`, an item has {} bytes", "ITEM_TREE"),
    Stated(FAST, "and a node {}, because", "NODE_TREE"),
    Stated(CHOICES, "An item has {} bytes", "ITEM_HASH"),
    Stated(LIFETIMES, "memory, {} or", "NODE_HASH"),
    Stated(LIFETIMES, "or {} bytes, is freed", "NODE_TREE"),
    Stated(THREATS, "touch it: {} bytes per page", "ITEM_HASH"),
    Stated(THREATS, "per page, {} with `index=tree`", "ITEM_TREE"),
    Stated(THREATS, "; {} or 16 KiB for a page", "KSM_CHUNK_PAGES * ITEM_HASH / 1024"),
    Stated(THREATS, "; 8 or {} KiB for a page", "KSM_CHUNK_PAGES * ITEM_TREE / 1024"),
    Stated(THREATS, "Each item uses at least {} bytes", "ITEM_HASH"),
    # The benchmark.
    Stated(LESSON_15, "`make bench` measures {word} workloads", "NR_WORKLOADS"),
    Stated(LESSON_15, "The benchmark makes {word} runs", "RUNS"),
    Stated(LESSON_15, "The size.** {} pages are", "NR_PAGES"),
    Stated(LESSON_15, "4,096 pages are {} MiB", "NR_PAGES * PAGE_SIZE >> 20"),
    Stated(LESSON_15, "also measures {} and 256 MiB", "LARGER * NR_PAGES * PAGE_SIZE >> 20"),
    Stated(LESSON_15, "also measures 64 and {} MiB", "LARGEST * NR_PAGES * PAGE_SIZE >> 20"),
    Stated(LESSON_15, "the medians of both engines, for {} pages", "NR_PAGES"),
    Stated(LESSON_15, "*growth {}x*", "LARGEST"),
    Stated(LESSON_15, "cost per page with {} pages, divided", "LARGEST * NR_PAGES"),
    Stated(LESSON_15, "divided by its cost per page with {} pages", "NR_PAGES"),
    Stated(LESSON_15, "{word} threads on the other CPU", "WRITERS"),
    Stated("docs/explanation/measurements.md", "here with {} MiB", "NR_PAGES * PAGE_SIZE >> 20"),
    Stated("docs/explanation/measurements.md", "the median of {word} runs", "RUNS"),
    # Limits and defaults.
    Stated(LESSON_15, "map a frame at most {} times", "max_page_sharing"),
    Stated(LESSON_15, "equal pages need {word} frames", "4096 / max_page_sharing"),
    Stated(LESSON_18, "up to {} threads", "KSM_MAX_THREADS"),
    Stated(THREATS, "`max_page_sharing` references ({} by default", "max_page_sharing"),
    Stated(THREATS, "{} regions per area", "KSM_MAX_REGIONS"),
    Stated("docs/how-to/use-it-from-c.md", "the area has {} regions", "KSM_MAX_REGIONS"),
    Stated(TUNE, "| `pages_to_scan` | {} |", "pages_to_scan"),
    Stated(TUNE, "maximum number of mappings of one kernel page, from {} to", "KSM_MIN_SHARING"),
    Stated(TUNE, "of one kernel page, from 2 to {} |", "KSM_MAX_SHARING"),
    Stated(TUNE, "| `max_page_sharing` | {} |", "max_page_sharing"),
    Stated(TUNE, "{} pages every 20 ms", "pages_to_scan"),
    Stated(TUNE, "512 pages every {} ms", "sleep / 1000"),
    Stated(TUNE, "at most {} pages per second", "pages_to_scan * 1000000 / sleep"),
    Stated(TUNE, "default of {}, a thousand equal pages", "max_page_sharing"),
    Stated(TUNE, "a thousand equal pages need {word} kernel pages", "1000 / max_page_sharing + 1"),
    Stated(TUNE, "frame number in {} bits", "PFN_BITS"),
    Stated(TUNE, "the first {} TiB", "1 << (PFN_BITS + 12 - 40)"),
    Stated(REFERENCES, "frame number of its kernel page in {} bits", "PFN_BITS"),
    Stated(REFERENCES, "the first {} TiB", "1 << (PFN_BITS + 12 - 40)"),
    Stated(LESSON_02, "| 29-16 | size of the structure, in bytes | {} |", "REGION_BYTES"),
]

#: Expressions whose value a page gives in words.
IN_WORDS = [
    ("kernel/sysfs.c", "ksm_settings.max_kernel_pages = totalram_pages() / 4;", "quarter of memory",
     ["docs/lessons/12-limits.md", "docs/explanation/threat-model.md", "docs/how-to/watch-and-tune.md"]),
    ("kernel/core.c", "&ksm_reap_work, HZ / 2);", "twice a second",
     ["docs/lessons/10-replace-page.md", "docs/lessons/14-debugging.md", "docs/explanation/lifetimes.md",
      "docs/explanation/references-and-pins.md", "docs/explanation/between-two-steps.md"]),
    ("kernel/core.c", "&ksm_reap_work, HZ / 2);", "half a second",
     ["docs/explanation/lifetimes.md", "docs/explanation/between-two-steps.md", "docs/explanation/threat-model.md",
      "docs/how-to/use-it-from-c.md", "docs/how-to/watch-and-tune.md"]),
    ("kernel/walk.c", "i + 8 <= end; i += 8", "entries eight at a time", ["docs/explanation/what-makes-it-fast.md"]),
]  # fmt: skip
OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}


@functools.cache
def definitions() -> dict[str, str]:
    """Return the macros of the driver and the defaults of its settings, each with its value in C."""
    found = dict(
        re.findall(
            r"^#define (\w+)[ \t]+([^\\\n]+?)[ \t]*(?:/\*.*)?$",
            "\n".join(path.read_text() for path in sorted(KERNEL.glob("*.[ch]"))),
            re.MULTILINE,
        )
    )
    core = (KERNEL / "core.c").read_text().partition("ksm_settings = {")[2].partition("}")[0]
    return found | dict(re.findall(r"\.(\w+) = (\w+),", core))


@functools.cache
def sizes() -> dict[str, int]:
    """Return the sizes of the driver's structures, with both indexes, in bytes."""
    text = (KERNEL / "ksm.h").read_text()
    (bits,) = re.findall(r"^\tu(\d+) pfn;$", text, re.MULTILINE)
    structures = "\n".join(
        excerpt.find(f"kernel/{file}", f"struct {name}").text
        for file, name in (("index.h", "ksm_entry"), ("ksm.h", "ksm_item"), ("ksm.h", "ksm_node"))
    )
    source = SIZES.format(bits=evaluate("KSM_HASH_BITS"), structures=structures)
    # The compiler computes the sizes; the assembly code contains them as numbers.
    done = subprocess.run(
        ["gcc", "-S", "-x", "c", "-", "-o", "-"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
    )
    computed = {
        name: int(size)
        for name, size in re.findall(r"^(\w+):\n\t\.long\t(\d+)$", done.stdout, re.MULTILINE)
    }
    assert len(computed) == SIZES.count("const int"), done.stdout
    return computed | {"PFN_BITS": int(bits), "REGION_BYTES": ctypes.sizeof(abi.MemoryRegion)}


def evaluate(expression: str) -> int:
    """Compute an expression of C, of integers and names.

    Raises:
        AssertionError: The expression has a name that the driver does not define, or an unknown operator.
    """
    plain = re.sub(r"\b(0x[\da-fA-F]+|\d+)[uUlL]+\b", r"\1", expression)
    return _compute(ast.parse(plain.strip(), mode="eval").body, expression)


def _compute(node: ast.expr, expression: str) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.BinOp):
        calculate = OPERATORS.get(type(node.op))
        assert calculate, f"{expression}: the operator is not known here"
        return calculate(_compute(node.left, expression), _compute(node.right, expression))
    assert isinstance(node, ast.Name), f"{expression}: {ast.unparse(node)} is no integer"
    if node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if node.id in definitions():
        return evaluate(definitions()[node.id])
    assert node.id in sizes(), f"{expression}: the driver does not define {node.id}"
    return sizes()[node.id]


def places(stated: Stated) -> list[re.Match[str]]:
    """Return where the page has the text, with any value."""
    text = (ROOT / stated.page).read_text()
    parts = [re.escape(part).replace(r"\ ", r"\s+") for part in PLACE.split(stated.text)]
    return list(re.finditer(r"(\w+(?:,\d+)*)".join(parts), text))


def test_expressions_are_computed_as_in_c() -> None:
    assert evaluate("(2 * ((1U << (9 - 4)) + 1)) / 4 - 0x10UL") == 0
    with pytest.raises(AssertionError, match="does not define NOTHING"):
        evaluate("NOTHING + 1")


@pytest.mark.parametrize("stated", STATED, ids=lambda each: f"{Path(each.page).stem}: {each.text}")
def test_page_states_the_value_of_the_source(stated: Stated) -> None:
    value = evaluate(stated.value)
    found = places(stated)
    assert found, f"{stated.page} no longer contains {stated.text!r}: update STATED in {__file__}"
    for each in found:
        line = each.string.count("\n", 0, each.start(1)) + 1
        assert each[1].lower() == stated.shown(value), (
            f"{stated.page}:{line} states {each[1]} in {' '.join(each[0].split())!r}, "
            f"but {stated.value} is {value:,}. Correct the page"
        )


@pytest.mark.parametrize(("source", "code", "words", "pages"), IN_WORDS)
def test_page_states_the_value_of_the_source_in_words(
    source: str, code: str, words: str, pages: list[str]
) -> None:
    for page in pages:
        text = " ".join((ROOT / page).read_text().split())
        assert words in text.lower(), (
            f"{page} no longer contains {words!r}: update IN_WORDS in {__file__}"
        )
    assert code in (ROOT / source).read_text(), (
        f"{source} no longer contains {code!r}, so correct {words!r} in {', '.join(pages)}"
    )


def test_pages_state_how_many_functions_are_not_exported() -> None:
    source = (KERNEL / "mm_symbols.c").read_text()
    lists = re.findall(r"^#define KSM_SYMBOLS_\w+\(X, V\)((?:.*\\\n)*.*\n)", source, re.MULTILINE)
    common, *versions = (len(re.findall(r"^\t[XV]\(", each, re.MULTILINE)) for each in lists)
    assert len(versions) == 2
    for version in versions:
        assert 11 <= common + version <= 13
    for page in ("docs/lessons/17-outside-the-tree.md", "docs/explanation/unexported-symbols.md"):
        assert "bout a dozen" in (ROOT / page).read_text()


def test_lessons_state_how_many_tests_their_exercises_run() -> None:
    stated = 0
    for number, each in exercise.read_all().items():
        if each.driver is None:
            continue
        (page,) = (ROOT / "docs/lessons").glob(f"{number:02}-*.md")
        tests = len(driver_tests.read_tests(each.driver))
        words = re.findall(r"\bruns\s+(?!its\b)(\w+)\s+tests?\b", page.read_text())
        stated += len(words)
        assert set(words) <= {"a" if tests == 1 else WORDS[tests]}, (
            f"{page.name} states the numbers {words}, but {each.driver} has {tests} tests"
        )
    assert stated >= 12
