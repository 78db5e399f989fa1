"""The host's half: for each test that belongs in a VM, have the VM's pytest run it, and publish its reports."""

from __future__ import annotations

import builtins
import copy
import dataclasses
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from ksmlab.pytest_plugin.story import Story
from ksmlab.vm.decode import decode
from ksmlab.vm.errors import LostVM, VmError
from ksmlab.vm.keep import Kept
from ksmlab.vm.path_checks import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _pytest.terminal import TerminalReporter

    from ksmlab.pytest_plugin.leg import Leg
    from ksmlab.pytest_plugin.wire import Frame

#: So many VMs in a row that come to nothing, and the rest of their kernel's tests are not tried.
HOPELESS = 2
DEADLINE_MARK = "vm_deadline"
#: What a worker's output has them under.
KEPT = "vm_kept"


class Host:
    """Run tests in VMs, one VM at a time.

    Args:
        kernel_of: Returns the kernel that a test runs on, or None for a test that runs on the host.
        make_leg: Returns the Leg that runs the kernel of a name; raises VmError if the kernel is not available or its
            modules do not build.
    """

    def __init__(
        self, kernel_of: Callable[[pytest.Item], str | None], make_leg: Callable[[str], Leg]
    ) -> None:
        """Keep both; nothing boots before the first test."""
        self._kernel_of = kernel_of
        self._make_leg = make_leg
        self._leg: Leg | None = None
        self._last: tuple[pytest.Item, Story] | None = None
        self._running = False
        self._files: dict[str, list[str]] = {}
        self._failed_boots: dict[str, int] = {}
        self._why: dict[str, LostVM] = {}
        self._not_to_be_had: dict[str, VmError] = {}
        self.kept: list[Kept] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which files each kernel's guest has to collect."""
        for item in session.items:
            kernel = self._kernel_of(item)
            if kernel is not None and str(item.path) not in self._files.setdefault(kernel, []):
                self._files[kernel].append(str(item.path))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Run a test in its VM, if it belongs there."""
        kernel = self._kernel_of(item)
        if kernel is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        last = nextitem is None or self._kernel_of(nextitem) != kernel
        following = None if last or nextitem is None else nextitem.nodeid
        story = Story(item.nodeid)
        self._last = item, story
        failed = False
        self._running = True
        for report in self._reports(item, story, kernel, following):
            item.ihook.pytest_runtest_logreport(report=report)
            failed = failed or report.failed
        self._running = False
        for frame in story.warnings:
            record_warning(item, frame)
        if failed and item.config.option.vm_keep:
            self._keep(item, story)
        if self._leg is not None and story.lost_by is not None:
            self._leg.close()
        if last:
            self._end()
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End the VM, after -x for example; a worker tells which VMs it has kept."""
        self._end()
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[KEPT] = [dataclasses.asdict(made) for made in self.kept]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Hear from a worker of pytest-xdist which VMs it has kept."""
        self.kept += [Kept(**made) for made in getattr(node, "workeroutput", {}).get(KEPT, [])]

    def pytest_unconfigure(self) -> None:
        """End the VM, whatever happened."""
        if self._leg is not None:
            self._leg.close()

    def _end(self) -> None:
        """End the VM; what goes wrong in that is charged to the last test's teardown."""
        if self._leg is None or self._last is None:
            return
        leg, self._leg = self._leg, None
        if self._running:
            # After Ctrl-C in a test: the test may never end, so do not wait for it.
            leg.close()
            return
        item, story = self._last
        began = time.time()
        try:
            trouble = leg.finish()
        except LostVM as lost:
            report = lost_report(item, story, lost, leg, began)
        else:
            if not trouble:
                return
            text = f"after the last test in the VM:\n{trouble}"
            report = failed_report(item, "teardown", text, [], began)
        item.ihook.pytest_runtest_logreport(report=report)

    def _keep(self, item: pytest.Item, story: Story) -> None:
        """Leave the VM up, end the session, and say how to get into it."""
        if self._leg is None:
            return
        made = self._leg.keep(f"{item.nodeid} failed", story.sections)
        if made is None:
            return
        item.session.shouldstop = f"the VM of {item.nodeid} is kept"
        self.kept.append(made)

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Say how to get into a VM that was kept."""
        for made in self.kept:
            terminalreporter.section(f"the VM {made.name} is kept: {made.why}")
            terminalreporter.write_line(f"a shell in it:  ksmlab vm attach {made.name}")
            terminalreporter.write_line(f"a debugger:     {made.gdb_command}")
            terminalreporter.write_line(f"its end:        ksmlab vm end {made.name}")

    def _reports(
        self, item: pytest.Item, story: Story, kernel: str, following: str | None
    ) -> Iterator[pytest.TestReport]:
        began = time.time()
        leg: Leg | None = None
        try:
            with storage_errors():
                leg = self._started(kernel)
            mark = item.get_closest_marker(DEADLINE_MARK)
            seconds = float(mark.args[0]) if mark else None
            for frame in leg.run(story, following, seconds):
                yield report_of(item, frame)
            self._failed_boots.pop(kernel, None)
        except LostVM as lost:
            yield lost_report(item, story, lost, leg, began)
            yield empty_teardown(item)
        except (LookupError, VmError) as error:
            yield failed_report(item, "setup", str(error), [], began)
            yield empty_teardown(item)

    def _started(self, kernel: str) -> Leg:
        """Give the kernel's VM, booted."""
        if self._failed_boots.get(kernel, 0) >= HOPELESS:
            raise LostVM(
                f"{kernel}: not tried again after {HOPELESS} VMs in a row came to nothing.",
                log=self._why[kernel].what,
            )
        if self._leg is not None and self._leg.kernel.name != kernel:
            self._end()
        if (why := self._not_to_be_had.get(kernel)) is not None:
            raise VmError(f"{kernel}: not tried again after this: {why.what}")
        try:
            self._leg = self._leg or self._make_leg(kernel)
        except VmError as error:
            self._not_to_be_had[kernel] = error
            raise
        try:
            self._leg.start(self._files[kernel])
        except LostVM as error:
            self._failed_boots[kernel] = self._failed_boots.get(kernel, 0) + 1
            self._why[kernel] = error
            raise
        return self._leg


def record_warning(item: pytest.Item, frame: Frame) -> None:
    """Publish a warning of a test; its category, which the host may not know, stands in its text."""
    found = getattr(builtins, frame["category"], None)
    kind: type[Warning] = UserWarning
    text = f"{frame['category']}: {frame['text']}"
    if isinstance(found, type) and issubclass(found, Warning):
        kind, text = found, frame["text"]
    message = warnings.WarningMessage(
        message=kind(text), category=kind, filename=frame["filename"], lineno=frame["lineno"]
    )
    item.config.hook.pytest_warning_recorded.call_historic(
        kwargs={
            "warning_message": message,
            "when": "runtest",
            "nodeid": item.nodeid,
            "location": None,
        }
    )


def report_of(item: pytest.Item, frame: Frame) -> pytest.TestReport:
    """Make a report of what came over the line."""
    # What was serialised is taken apart in its place; the story keeps it as it came.
    report: pytest.TestReport = item.config.hook.pytest_report_from_serializable(
        config=item.config, data=copy.deepcopy(frame)
    )
    # JSON has no tuples; pytest asks for some.
    report.location = item.location
    longrepr: object = report.longrepr
    if isinstance(longrepr, list):
        path, line, reason = longrepr
        report.longrepr = (path, line, reason)
    report.user_properties = [(name, value) for name, value in report.user_properties]
    return report


def failed_report(
    item: pytest.Item, when: str, text: str, sections: Sequence[tuple[str, str]], began: float
) -> pytest.TestReport:
    """Make the report of a phase that failed outside of pytest."""
    return pytest.TestReport(
        nodeid=item.nodeid, location=item.location, keywords=dict.fromkeys(item.keywords, 1),
        outcome="failed", longrepr=text, when=when,  # type: ignore[arg-type]
        sections=sections, duration=time.time() - began, start=began, stop=time.time(),
    )  # fmt: skip


def empty_teardown(item: pytest.Item) -> pytest.TestReport:
    """Make the report that ends a test for those who count: nothing was torn down."""
    now = time.time()
    return pytest.TestReport(
        nodeid=item.nodeid, location=item.location, keywords=dict.fromkeys(item.keywords, 1),
        outcome="passed", longrepr=None, when="teardown", start=now, stop=now,
    )  # fmt: skip


def lost_report(
    item: pytest.Item, story: Story, lost: LostVM, leg: Leg | None, began: float
) -> pytest.TestReport:
    """Make the report of a test that its VM did not outlive."""
    kind = type(lost).__name__
    name = kind if kind == LostVM.__name__ else f"{LostVM.__name__}: {kind}"
    text = "\n".join(filter(None, [f"{name}: {lost.what}", lost.untouched, lost.hint]))
    objects = leg.plan.objects if leg else {}
    sections = []
    if lost.log:
        sections.append(("Kernel log", "\n".join(decode(lost.log.splitlines(), objects))))
    if leg is not None and leg.console:
        sections.append(("Console", "\n".join(leg.console)))
    report = failed_report(item, story.phase.value, text, sections, began)
    report.vm_lost = kind  # type: ignore[attr-defined]
    return report
