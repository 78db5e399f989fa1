"""What the driver says of itself as it works: one event of each kind, with the right figures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from trace_events import TRACING, traced

from ksmlab import content, pagemap
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena

if TYPE_CHECKING:
    from ksmlab.sysfs import KsmSysfs

EVENTS = {"pass_start", "pass_end", "merge", "break", "skip", "node_dropped"}


@pytest.fixture(scope="module", autouse=True)
def tracefs() -> None:
    if not (TRACING / "events").exists():
        pytest.fail(f"{TRACING} is not mounted")


def test_all_events_are_there() -> None:
    names = {path.name for path in (TRACING / "events/devksm").iterdir() if path.is_dir()}
    assert names == {f"devksm_{event}" for event in EVENTS}


def test_the_life_of_a_merge(scanning: KsmSysfs) -> None:
    with KsmDevice() as device, device.create_area() as area, Arena(4, huge=False) as arena:
        arena.fill(content.equal(4))
        before = pagemap.frames(None, arena.address, 4)
        with traced() as lines:
            area.register(arena)
            scanning.wait_until(lambda s: s.pages_shared == 3, 60, "3 pages shared")
            frame = pagemap.entry(arena.address).pfn
            arena.write(0, b"x")
            scanning.wait_until(lambda s: s.pages_shared == 2, 60, "2 pages shared")
            area.remove()
    merges = [line for line in lines if line.startswith("merge:")]
    assert len(merges) == 4
    assert sum(" unstable " in line for line in merges) == 2
    assert sum(" stable " in line for line in merges) == 2
    assert all(line.endswith(f"kernel_pfn={frame:#x}") for line in merges)
    assert {int(re.search(r" pfn=(0x\w+)", line)[1], 16) for line in merges} == set(before)  # type: ignore[index]

    breaks = [line for line in lines if line.startswith("break:")]
    assert len(breaks) == 4
    assert f"written" in breaks[0] and f"addr={arena.address:#x}" in breaks[0]  # noqa: F541, PT018
    assert all("unmerged" in line for line in breaks[1:])
    # A page that had another reference for a moment was tried again, with another kernel page.
    held = [line for line in lines if re.match(r"skip: .*(busy|pinned)", line)]
    dropped = [line for line in lines if line.startswith("node_dropped:")]
    assert dropped[-1] == f"node_dropped: kernel_pfn={frame:#x} mappings=0"
    assert 1 <= len(dropped) <= 1 + len(held), lines
    starts = [int(line.split("=")[1]) for line in lines if line.startswith("pass_start:")]
    ends = [int(line.split()[1].split("=")[1]) for line in lines if line.startswith("pass_end:")]
    assert starts == sorted(set(starts))
    assert ends == sorted(set(ends))
    assert len(set(starts) & set(ends)) >= 2


def test_a_skip_says_why(scanning: KsmSysfs) -> None:
    with KsmDevice() as device, device.create_area() as area, Arena(16, shared=True) as arena:
        arena.fill(content.equal(16))
        with traced() as lines:
            area.register(arena)
            scanning.wait_full_scans(1)
    skips = [line for line in lines if line.startswith("skip:")]
    assert skips
    assert all(
        re.fullmatch(rf"skip: shared_vma mm=\w+ addr={arena.address:#x} pages=16", line)
        for line in skips
    )
