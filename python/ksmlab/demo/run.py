"""Merge memory of three processes, and check each step by page-frame numbers."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksmlab.demo.checks import CheckError, Checks, Frames
from ksmlab.demo.curves import COUNTERS
from ksmlab.demo.plan import Plan
from ksmlab.demo.recorder import Recorder
from ksmlab.demo.view import PlainView
from ksmlab.demo.watcher import NoWatcher
from ksmlab.demo.worker import Worker, WorkerError
from ksmlab.libc import PAGE_SIZE
from ksmlab.sysfs import Counters, KsmSysfs, Run, SysfsError, WaitTimeoutError
from ksmlab.vm.failures import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ksmlab.demo.plan import Part
    from ksmlab.demo.view import View
    from ksmlab.demo.watcher import Watcher

#: kksmd sleeps for SHORT_SLEEP while the demonstration waits for merges. Otherwise it sleeps for LONG_SLEEP, so that
#: the checks get the CPU (microseconds).
PAGES_TO_SCAN = 4000
SHORT_SLEEP = 5000
LONG_SLEEP = 200000
#: The seconds within which all equal pages must have merged.
DEADLINE = 120.0
#: The seconds between two readings of the counters.
LOOK_EVERY = 0.1
_MIB = 1 << 20

#: The explanation of the first counter, whose name has another meaning in mainline KSM.
LEGEND = f"pages_shared: {COUNTERS['pages_shared']}"

FAILED = 1
CANNOT_RUN = 2


def mib(pages: int) -> str:
    """Format the size of a number of pages, in MiB."""
    return f"{pages * PAGE_SIZE / _MIB:.1f} MiB"


class Demo:
    """The demonstration. It has a method for each step; run() calls them in order.

    Args:
        plan: The contents of the processes.
        ksm: The driver's sysfs files.
        view: Shows the steps and checks.
        workers: The processes.
        watcher: Is notified of each stage.
    """

    def __init__(
        self,
        plan: Plan,
        ksm: KsmSysfs,
        view: View,
        workers: Sequence[Worker],
        watcher: Watcher,
    ) -> None:
        self.plan, self.ksm, self.view, self.workers = plan, ksm, view, workers
        self.watcher = watcher
        self.checks = Checks(view.check)

    def run(self) -> None:
        """Run all steps.

        Raises:
            CheckError: A claim does not hold.
            WaitTimeoutError: The driver did not reach the expected state in time.
            WorkerError: A process failed.
        """
        before = self.fill()
        merged = self.merge(before)
        self.write(merged)
        self.merge_again()
        self.close()

    def ask_all(self, what: str) -> list[dict[str, Any]]:
        """Send a request to all processes at the same time, and return their answers."""
        for worker in self.workers:
            worker.ask(what)
        return [worker.answer() for worker in self.workers]

    def ask(self, worker: int, what: str) -> dict[str, Any]:
        """Send a request to one process, and return its answer."""
        self.workers[worker].ask(what)
        return self.workers[worker].answer()

    def frames(self) -> Frames:
        """Read the frames of all processes."""
        return Frames.read(self.plan, [(worker.pid, worker.addr) for worker in self.workers])

    def wait(self, condition: Callable[[Counters], bool], goal: int, what: str) -> None:
        """Show the counters until a condition holds.

        Args:
            condition: The condition.
            goal: The value of pages_shared at the end of the wait.
            what: The condition as text, for an error message.

        Raises:
            WaitTimeoutError: The condition does not hold after DEADLINE seconds.
        """
        start = time.monotonic()

        def look(ksm: KsmSysfs) -> bool:
            counters = ksm.counters()
            self.view.counters(counters, goal, time.monotonic() - start)
            return condition(counters)

        try:
            with self.ksm.settings(sleep=SHORT_SLEEP):
                self.ksm.wait_until(look, DEADLINE, what, LOOK_EVERY)
        finally:
            self.view.counters_done()

    def wait_merged(self, unequal: int = 0) -> None:
        """Wait until all equal pages have merged, and the driver has recognised changing pages as volatile.

        Args:
            unequal: The number of pages that the plan counts as equal to others, but that currently are not.
        """
        shared, kernel_pages = self.plan.pages_shared - unequal, self.plan.kernel_pages

        def done(now: Counters) -> bool:
            there = (now.pages_shared, now.kernel_pages_allocated) == (shared, kernel_pages)
            return there and now.pages_volatile > 0

        what = f"pages_shared={shared} kernel_pages_allocated={kernel_pages} pages_volatile>0"
        self.wait(done, shared, what)

    def check_content(self) -> None:
        """Check that the memory of each process has the content that the process has written."""
        answers = self.ask_all("verify")
        for worker, answer in zip(self.workers, answers, strict=True):
            if answer["wrong"]:
                self.view.note(f"process {worker.pid}: wrong pages {answer['pages']} ...")
        wrong = sum(answer["wrong"] for answer in answers)
        self.checks.equal("pages with a wrong byte, in all processes", 0, wrong)

    def fill(self) -> Frames:
        """Fill the memory of the processes, and register it."""
        plan, equal = self.plan, self.checks.equal
        self.view.step(f"{plan.workers} processes write {mib(plan.npages)} each")
        for text in (
            f"{plan.across:5,} pages are equal in all processes",
            f"{plan.inside:5,} pages of {plan.kinds} kinds are equal inside each process",
            f"{plan.alone:5,} pages are equal to no other",
            f"{plan.changing:5,} pages keep changing",
        ):
            self.view.note(text)
        for worker, answer in zip(self.workers, self.ask_all("fill"), strict=True):
            worker.addr = answer["addr"]
        before = self.frames()
        equal("pages present", plan.total, before.present())
        equal("frames before", plan.total, before.distinct(), f"({mib(plan.total)})")
        self.watcher.filled(self.workers)
        self.watcher.moment("before the merge")
        self.view.step("The processes register it with /dev/ksm, and kksmd scans it")
        self.ask_all("register")
        self.ksm.run = Run.SCAN
        return before

    def merge(self, before: Frames) -> Frames:
        """Wait until equal pages have merged, and check the result."""
        self.wait_merged()
        self.view.step("Looking at frame numbers and content")
        merged = self.check_merged()
        self.watcher.moment("after the merge")
        self.view.note(
            f"{mib(before.distinct())} of memory is now in {mib(merged.distinct())} of frames"
        )
        self.check_content()
        return merged

    def check_merged(self) -> Frames:
        """Check that equal pages share one frame, and that other pages do not share their frames."""
        plan, equal = self.plan, self.checks.equal
        frames = self.frames()
        equal("frames", plan.frames, frames.distinct(), f"({mib(frames.distinct())})")
        counted = self.ksm.pages_shared + self.ksm.zero_pages
        equal("frames saved, by the counters", plan.total - frames.distinct(), counted)
        found = frames.pages_with_one_frame()
        equal("pages that all processes share", plan.across, found)
        found = frames.kinds_with_one_frame()
        equal("kinds of pages in one frame", plan.workers * plan.kinds, found)
        found = frames.own(lambda plan: plan.alone_part)
        equal("unique pages in a frame of their own", plan.workers * plan.alone, found)
        found = frames.own(lambda plan: plan.changing_part)
        equal("changing pages in a frame of their own", plan.workers * plan.changing, found)
        return frames

    def write(self, merged: Frames) -> None:
        """Let one process write to merged pages, and check that the pages of the others do not change.

        Args:
            merged: The frames after the merge.
        """
        plan, equal = self.plan, self.checks.equal
        self.view.step(f"Process {self.workers[0].pid} writes {plan.writes:,} merged pages")
        self.ask(0, "write")
        frames = self.frames()
        parts = plan.written_parts

        def moved(worker: int, parts: Sequence[Part]) -> int:
            stayed = sum(frames.same_as(merged, worker, part) for part in parts)
            return sum(part.count for part in parts) - stayed

        own = sum(frames.own(lambda _, part=part: part) for part in parts)  # type: ignore[misc]
        equal("written pages in a new frame", plan.writes, moved(0, parts))
        others = range(1, plan.workers)
        hit = sum(moved(worker, parts) for worker in others)
        equal("pages of other processes in a new frame", 0, hit)
        equal("written pages in a frame of their own", plan.writes, own)
        equal("frames", plan.frames + plan.writes, frames.distinct())
        self.watcher.moment(f"after process {self.workers[0].pid} has written", after_write=True)
        self.check_content()
        self.view.step("kksmd finds that these pages have changed")
        self.wait_merged(unequal=plan.writes)

    def merge_again(self) -> None:
        """Let the writer put the old content back, and see it merge again."""
        self.view.step("The process writes the old content back")
        self.ask(0, "restore")
        self.wait_merged()
        self.check_merged()
        self.check_content()

    def close(self) -> None:
        """Close the areas, and check that each page has its own frame again."""
        plan, equal = self.plan, self.checks.equal
        self.view.step("The processes close their areas")
        self.ask_all("close")
        self.wait(
            lambda counters: counters.pages_shared == counters.kernel_pages_allocated == 0,
            0,
            "pages_shared=0 kernel_pages_allocated=0",
        )
        frames = self.frames()
        equal("pages present", plan.total, frames.present())
        equal("frames after", plan.total, frames.distinct(), f"({mib(plan.total)})")
        self.check_content()


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m ksmlab.demo", description=__doc__)
    parser.add_argument(
        "--view",
        choices=("auto", "rich", "plain"),
        default="auto",
        help="rich uses colours and updates counters in place, plain prints lines; auto is rich on a terminal",
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="store lines, counters, events and page frames as JSON",
    )
    return parser.parse_args(argv)


def make_view(choice: str) -> View:
    """Return the view for a value of --view."""
    dumb = os.environ.get("TERM") == "dumb" or "NO_COLOR" in os.environ
    if choice == "rich" or (choice == "auto" and sys.stdout.isatty() and not dumb):
        from ksmlab.demo.rich_view import RichView  # noqa: PLC0415 - slow, see there

        return RichView(force=choice == "rich")
    return PlainView(sys.stdout)


def demonstrate(
    view: View, plan: Plan, workers: Sequence[Worker], watcher: Watcher | None = None
) -> int:
    """Run the demonstration, show its result, and return the exit status."""
    try:
        ksm = KsmSysfs.find()
        if ksm.pages_shared or ksm.kernel_pages_allocated:
            view.failure(
                "The demonstration cannot run, because other programs have merged pages. "
                "Nothing was changed. Next: end the programs that use /dev/ksm"
            )
            return CANNOT_RUN
        with ksm.settings(
            pages_to_scan=PAGES_TO_SCAN, sleep=LONG_SLEEP, max_kernel_pages=0, run=Run.STOP
        ):
            demo = Demo(plan, ksm, view, workers, watcher or NoWatcher())
            demo.run()
    except SysfsError as error:
        view.failure(reason(error))
        return CANNOT_RUN
    except (CheckError, WaitTimeoutError, WorkerError) as error:
        view.failure(str(error))
        return FAILED
    view.verdict(f"All {demo.checks.passed} checks hold")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration.

    Returns:
        0 if all checks pass, 1 if one fails, 2 if the demonstration cannot run.
    """
    arguments = parse(sys.argv[1:] if argv is None else argv)
    plan = Plan()
    with contextlib.ExitStack() as stack:
        # Fork the processes first, so that they share little memory with this one.
        workers = []
        for number in range(plan.workers):
            workers.append(Worker(plan, number))
            stack.callback(workers[-1].close)
        view = make_view(arguments.view)
        # The record omits this line: its page has the meaning of each counter beside the counter.
        view.note(LEGEND)
        recorder = None
        if arguments.record is not None:
            view = recorder = stack.enter_context(Recorder(view, plan, arguments.record))
        view.title(
            f"/dev/ksm: {plan.workers} processes, {mib(plan.total)} of memory, "
            "and what of it is equal"
        )
        return demonstrate(view, plan, workers, recorder)
