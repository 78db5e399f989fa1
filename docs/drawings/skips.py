"""The pages that the driver does not merge, and why: the reasons of kernel/ksm.h in the order of the tests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from drawings.canvas import WIDTH, Canvas

NAME = "skips"
KERNEL = Path(__file__).resolve().parents[2] / "kernel"
_LEFT, _TOP, _GAP, _ROW, _HEAD, _NAME = 16.0, 70.0, 22.0, 18.0, 44.0, 94.0


@dataclass(frozen=True)
class Gate:
    """A group of tests that a page has to pass.

    Attributes:
        name: what is tested.
        when: how long a page that fails stays unmerged.
        css: the colour.
        reasons: the name of each reason in sysfs, and the reason in a few words.
    """

    name: str
    when: str
    css: str
    reasons: tuple[tuple[str, str], ...]


GATES = (
    Gate(
        "1. The mapping",
        "none of its pages is merged",
        "bad",
        (
            ("hugetlb", "its huge pages cannot be split"),
            ("io", "it is memory of a device"),
            ("pfnmap", "its frames have no struct page"),
            ("mixedmap", "some of its frames may have none"),
            ("dax", "it is a file without a page cache"),
            ("shared_vma", "all its processes must see a write"),
            ("uffd", "a program handles its page faults"),
            ("special", "a shadow stack, or droppable memory"),
            ("file", "punching a hole in the file loses data"),
        ),
    ),
    Gate(
        "2. The page",
        "not merged while one of these is true",
        "bad",
        (
            ("swapped", "reading it back would use memory"),
            ("zero_page", "a merge would save nothing"),
            ("not_anon", "a driver has mapped its own page there"),
            ("kernel_ksm", "the kernel's own KSM has merged it"),
            ("hwpoison", "it has a memory error"),
        ),
    ),
    Gate(
        "3. The merge",
        "the next pass tries again",
        "two",
        (
            ("pinned", "a device or the kernel may write to it"),
            ("busy", "it is locked, or about to move"),
            ("changed", "it was written before the merge"),
            ("thp_split", "its huge page cannot be split now"),
            ("limit", "max_kernel_pages is reached"),
            ("no_memory", "an allocation failed"),
        ),
    ),
)


def check(kernel: Path = KERNEL) -> None:
    """Check that the drawing has the reasons of the driver, and those of a mapping in the order of the tests.

    Raises:
        ValueError: the driver has other reasons.
    """
    pattern = r"^\tKSM_SKIP_(\w+),"
    known = re.findall(pattern, (kernel / "ksm.h").read_text(), re.MULTILINE)
    function = re.search(
        r"^enum ksm_skip ksm_vma_refuses\(.*?^}",
        (kernel / "walk.c").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    tested = re.findall(r"return KSM_SKIP_(\w+);", function[0]) if function else []
    drawn = [[name for name, _ in gate.reasons] for gate in GATES]
    every = [name for names in drawn for name in names]
    if sorted([*every, "none"]) != sorted(name.lower() for name in known):
        raise ValueError(
            f"{kernel}/ksm.h has other reasons than GATES in {__file__}. Nothing was drawn"
        )
    if [*drawn[0], "none"] != [name.lower() for name in tested]:
        raise ValueError(
            f"{kernel}/walk.c: ksm_vma_refuses() has other tests than GATES in {__file__}. Nothing was drawn"
        )


def draw() -> str:
    """Return the SVG.

    Raises:
        ValueError: the driver has other reasons than the drawing.
    """
    check()
    heights = [_HEAD + len(gate.reasons) * _ROW - 6 for gate in GATES]
    total = _TOP + 30 + sum(heights) + (len(GATES) + 1) * _GAP + 30
    told = " ".join(
        f"{gate.name[3:]} ({gate.when}): "
        + "; ".join(f"{name}, {why}" for name, why in gate.reasons)
        + "."
        for gate in GATES
    )
    sheet = Canvas(
        total + 16,
        "Pages that the driver does not merge",
        f"A page with a match is merged if it passes three groups of tests. {told}",
    )
    width = WIDTH - 2 * _LEFT
    sheet.text(_LEFT, 32, "Pages that the driver does not merge", "head")
    sheet.text(_LEFT, 52, "the names are those of the files in skipped/", "dim small")
    sheet.labelled(_LEFT, _TOP, width, 30, "a page in a registered range", "one")
    y = _TOP + 30
    for gate, height in zip(GATES, heights, strict=True):
        sheet.arrow((WIDTH / 2, y), (WIDTH / 2, y + _GAP))
        y += _GAP
        sheet.box(_LEFT, y, width, height, gate.css)
        sheet.text(_LEFT + 12, y + 22, gate.name, "strong")
        sheet.text(WIDTH - _LEFT - 12, y + 22, gate.when, "small end")
        for number, (name, why) in enumerate(gate.reasons):
            base = y + _HEAD + number * _ROW
            sheet.text(_LEFT + 12, base, name, "code")
            sheet.text(_LEFT + 12 + _NAME, base, why, "small")
        y += height
    sheet.arrow((WIDTH / 2, y), (WIDTH / 2, y + _GAP))
    sheet.labelled(_LEFT, y + _GAP, width, 30, "merged, if it has a match", "three")
    return sheet.svg()
