"""The part of the plugin on the host: run tests in VMs, and publish their reports."""

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

#: After this many failures in a row to start a VM, the remaining tests of the kernel are not tried.
HOPELESS = 2
DEADLINE_MARK = "vm_deadline"
#: The key of the kept VMs in the output of a worker of pytest-xdist.
KEPT = "vm_kept"


class Host:
    """Runs tests in VMs, one VM at a time.

    Args:
        kernel_of: Returns the kernel that a test runs on, or None for a test that runs on the host.
        make_leg: Returns the Leg that runs the tests of a kernel, by its name; raises VmError if the kernel is not
            available or its modules do not build.
    """

    def __init__(
        self, kernel_of: Callable[[pytest.Item], str | None], make_leg: Callable[[str], Leg]
    ) -> None:
        """Boot no VM before the first test."""
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
        """Record the files that the guest of each kernel has to collect."""
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
        """End the VM if it still runs, for example after -x. A worker passes its kept VMs to the controller."""
        self._end()
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[KEPT] = [dataclasses.asdict(made) for made in self.kept]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Receive the kept VMs of a worker of pytest-xdist."""
        self.kept += [Kept(**made) for made in getattr(node, "workeroutput", {}).get(KEPT, [])]

    def pytest_unconfigure(self) -> None:
        """End the VM, even after an error."""
        if self._leg is not None:
            self._leg.close()

    def _end(self) -> None:
        """End the VM. If that fails, report the failure as one of the last test's teardown."""
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
        """Keep the VM running, and end the session."""
        if self._leg is None:
            return
        made = self._leg.keep(f"{item.nodeid} failed", story.sections)
        if made is None:
            return
        item.session.shouldstop = f"the VM of {item.nodeid} is kept"
        self.kept.append(made)

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Print how to attach to the kept VMs, and how to end them."""
        for made in self.kept:
            terminalreporter.section(f"the VM {made.name} is kept: {made.why}")
            terminalreporter.write_line(f"to open a shell:      ksmlab vm attach {made.name}")
            terminalreporter.write_line(f"to debug its kernel:  {made.gdb_command}")
            terminalreporter.write_line(f"to end it:            ksmlab vm end {made.name}")

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
        """Return the Leg of a kernel, with its VM booted."""
        if self._failed_boots.get(kernel, 0) >= HOPELESS:
            raise LostVM(
                f"No VM was started with {kernel}, since {HOPELESS} VMs in a row could not be started.",
                log=self._why[kernel].what,
            )
        if self._leg is not None and self._leg.kernel.name != kernel:
            self._end()
        if (why := self._not_to_be_had.get(kernel)) is not None:
            raise VmError(
                f"No VM was started with {kernel}, because of an earlier error: {why.what}"
            )
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
    """Publish a warning of a test. A category that the host may not know is part of the text."""
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
    """Convert a serialised report."""
    # pytest modifies the data that it converts, but the story needs the original.
    report: pytest.TestReport = item.config.hook.pytest_report_from_serializable(
        config=item.config, data=copy.deepcopy(frame)
    )
    # pytest expects tuples in some places, where JSON has lists.
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
    """Return the report of a phase that failed outside of pytest.

    Args:
        item: The test.
        when: The phase: "setup", "call" or "teardown".
        text: The reason of the failure.
        sections: The titles and contents of more sections of the report.
        began: The start of the phase, as given by time.time().
    """
    return pytest.TestReport(
        nodeid=item.nodeid, location=item.location, keywords=dict.fromkeys(item.keywords, 1),
        outcome="failed", longrepr=text, when=when,  # type: ignore[arg-type]
        sections=sections, duration=time.time() - began, start=began, stop=time.time(),
    )  # fmt: skip


def empty_teardown(item: pytest.Item) -> pytest.TestReport:
    """Return the report of an empty teardown, with which other plugins recognise the end of a test."""
    now = time.time()
    return pytest.TestReport(
        nodeid=item.nodeid, location=item.location, keywords=dict.fromkeys(item.keywords, 1),
        outcome="passed", longrepr=None, when="teardown", start=now, stop=now,
    )  # fmt: skip


def lost_report(
    item: pytest.Item, story: Story, lost: LostVM, leg: Leg | None, began: float
) -> pytest.TestReport:
    """Return the report of a test during which the VM was lost."""
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
