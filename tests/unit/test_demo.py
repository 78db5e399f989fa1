"""The demonstration's plan adds up, and its checks find what is wrong."""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ksmlab.demo import run
from ksmlab.demo.checks import CheckError, Checks, Frames
from ksmlab.demo.plan import Plan
from ksmlab.demo.view import PlainView
from ksmlab.demo.worker import Worker, WorkerError
from ksmlab.sysfs import Counters

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = Plan(workers=3, across=8, inside=6, kinds=2, alone=4, changing=3, writes=4)


def merged_frames(plan: Plan) -> list[list[int]]:
    """Number the frames as a perfect driver would: one for each key."""
    numbers: dict[int, int] = {}
    return [
        [numbers.setdefault(key, len(numbers) + 1) for key in plan.keys(worker)]
        for worker in range(plan.workers)
    ]


@pytest.mark.parametrize("plan", [SMALL, Plan()], ids=["small", "real"])
def test_the_plan_adds_up(plan: Plan) -> None:
    keys = [key for worker in range(plan.workers) for key in plan.keys(worker)]
    assert len(keys) == plan.total
    assert len(set(keys)) == plan.frames
    shared = [count for count in Counter(keys).values() if count > 1]
    assert len(shared) == plan.kernel_pages
    assert sum(shared) - len(shared) == plan.pages_shared


def test_each_process_has_at_least_64_mib() -> None:
    assert Plan().npages * 4096 >= 64 << 20


def test_written_and_changed_pages_equal_no_other() -> None:
    plan = Plan()
    seen = Counter(key for worker in range(plan.workers) for key in plan.keys(worker))
    for part in plan.written_parts:
        seen.update(plan.written_keys(0, part))
    for generation in (1, 2, 1000):
        seen.update(plan.changing_keys(1, generation))
    once = [key for key, count in seen.items() if count == 1]
    assert len(once) == plan.workers * (plan.alone + plan.changing) + plan.writes + 3 * 1024
    assert sum(part.count for part in plan.written_parts) == plan.writes


def test_perfect_frames_pass() -> None:
    frames = Frames(SMALL, merged_frames(SMALL))
    assert frames.distinct() == SMALL.frames
    assert frames.present() == SMALL.total
    assert frames.pages_with_one_frame() == SMALL.across
    assert frames.kinds_with_one_frame() == SMALL.workers * SMALL.kinds
    assert frames.own(lambda plan: plan.alone_part) == SMALL.workers * SMALL.alone
    assert frames.own(lambda plan: plan.changing_part) == SMALL.workers * SMALL.changing


def test_wrong_frames_are_found() -> None:
    pfns = merged_frames(SMALL)
    pfns[1][0] = 9999
    pfns[2][SMALL.across] = 0
    pfns[0][SMALL.alone_part.first] = pfns[1][SMALL.alone_part.first]
    frames = Frames(SMALL, pfns)
    assert frames.pages_with_one_frame() == SMALL.across - 1
    assert frames.kinds_with_one_frame() == SMALL.workers * SMALL.kinds - 1
    assert frames.own(lambda plan: plan.alone_part) == SMALL.workers * SMALL.alone - 2
    assert frames.present() == SMALL.total - 1
    before = Frames(SMALL, merged_frames(SMALL))
    assert frames.same_as(before, 1, SMALL.across_part) == SMALL.across - 1


def test_a_check_names_what_it_expects_and_finds() -> None:
    shown: list[str] = []
    checks = Checks(lambda name, found: shown.append(f"{name}: {found}"))
    checks.equal("frames", 1000, 1000, "(3.9 MiB)")
    with pytest.raises(CheckError, match=r"frames: expected 1,000, found 999.*Next:"):
        checks.equal("frames", 1000, 999)
    assert shown == ["frames: 1,000 (3.9 MiB)"]
    assert checks.passed == 1


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(SMALL, 0)
    yield made
    made.close()


def test_a_process_answers(worker: Worker) -> None:
    worker.ask("fill")
    assert worker.answer()["addr"] > 0
    worker.ask("write")
    assert worker.answer() == {}
    worker.ask("restore")
    assert worker.answer() == {}
    worker.ask("verify")
    assert worker.answer() == {"wrong": 0, "pages": []}


def test_a_process_that_fails_says_why(worker: Worker) -> None:
    worker.ask("nonsense")
    with pytest.raises(WorkerError, match="do_nonsense"):
        worker.answer()


def test_several_processes_end_by_themselves() -> None:
    workers = [Worker(SMALL, number) for number in range(3)]
    for each in workers:
        each.close()


COUNTERS = Counters(
    1, 100, 0, 0, 256, 1234, 56, 0, 7, 8, {"pinned": 9, "swapped": 0, "changed": 10}
)


def test_plain_lines_show_everything() -> None:
    out = io.StringIO()
    view = PlainView(out)
    view.title("title")
    view.step("a step")
    view.counters(COUNTERS, 2000, 0.0)
    view.counters(COUNTERS, 2000, 0.5)
    view.counters_done()
    view.check("frames", "7")
    view.failure("bad luck")
    lines = out.getvalue().splitlines()
    shown = [line for line in lines if "pages_shared 1,234/2,000" in line]
    assert len(shown) == 1
    assert "skipped: changed 10, pinned 9" in shown[0]
    assert any("ok  frames: 7" in line for line in lines)
    assert lines[-1] == "FAILED  bad luck"


def test_output_begins_with_the_name_that_mainline_has_for_pages_shared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "Worker", lambda *_: io.StringIO())
    monkeypatch.setattr(run, "demonstrate", lambda *_: 0)
    assert run.main(["--view", "plain"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "pages_shared" in first
    assert "pages_sharing" in first
    assert second.startswith("== /dev/ksm: 3 processes")


@pytest.mark.parametrize("columns", [52, 80, 200])
def test_rich_view_fits_the_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ksmlab.demo.rich_view import RichView  # noqa: PLC0415 - as the program does

    monkeypatch.setenv("COLUMNS", str(columns))
    view = RichView(force=True)
    view.title("title")
    view.step("a step [with brackets]")
    view.counters(COUNTERS, 2000, 0.0)
    view.counters_done()
    view.check("frames", "7")
    view.check(f"a check{' with a name' * 5} that is too long for a line", "8")
    view.failure("bad luck")
    out = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", capsys.readouterr().out).replace("\r", "\n")
    assert "1,234" in out
    assert "[with brackets]" in out
    lines = out.splitlines()
    assert max(map(len, lines)) <= min(columns, 80)
    check = next(number for number, line in enumerate(lines) if "a check with" in line)
    assert lines[check].startswith("      ✓  a check")
    rest = [line for line in lines[check + 1 :] if line.startswith(" " * 9)]
    assert rest[-1].rstrip().endswith(" a line: 8")
