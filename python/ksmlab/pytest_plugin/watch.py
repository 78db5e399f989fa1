"""Watch the kernel's log in the guest, and fail a test if the kernel reports an error during the test.

The test fails even if all its assertions hold, if it is skipped, or if it is expected to fail. A test also fails if the
log cannot be read.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ksmlab.pytest_plugin.kernel_log import KernelLog, complaints
from ksmlab.vm.decode import decode
from ksmlab.vm.failures import reason
from ksmlab.vm.waivers import Waiver, load_waivers

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from ksmlab.pytest_plugin.wire import Frame

KMEMLEAK = Path("/sys/kernel/debug/kmemleak")
CMDLINE = Path("/proc/cmdline")
#: kmemleak reports only objects that are older than this, in seconds (MSECS_MIN_AGE in mm/kmemleak.c).
LEAK_AGE = 5.0
#: The least seconds between two checks for leaks, since the scans can take minutes under emulation. Test files that end
#: earlier are covered by the next check.
LEAK_INTERVAL = 300.0
#: The beginning of each leak in the output of kmemleak.
LEAK = re.compile(r"^(?=unreferenced object)", re.MULTILINE)


def kmemleak_wanted() -> bool:
    """Return whether this kernel was booted with kmemleak=on."""
    return "kmemleak=on" in CMDLINE.read_text().split()


def kmemleak_on() -> bool:
    """Return whether kmemleak is on. If it is, turn its automatic scans off.

    Raises:
        OSError: kmemleak is off although the kernel was booted with kmemleak=on.
    """
    try:
        KMEMLEAK.write_text("scan=off")
    except (FileNotFoundError, PermissionError):
        if kmemleak_wanted():
            raise
        return False
    return True


class Watch:
    """Checks the kernel's log after each phase of each test.

    Args:
        setup: The setup frame from the host.
    """

    def __init__(self, setup: Frame) -> None:
        """Open the log, and read the reports from before the first test.

        Raises:
            OSError: /dev/kmsg cannot be opened.
            ValueError: The allow-list is not valid.
        """
        allow = setup["allow"]
        self._waivers: tuple[Waiver, ...] = load_waivers(Path(allow)) if allow else ()
        self._objects = {name: Path(path) for name, path in setup["objects"].items()}
        self._log = KernelLog()
        # Reports from before the first test belong to no test. They fail the first test.
        self._before = self._log.take()
        if not complaints(self._before, self._waivers)[0]:
            self._before.clear()
        # Errors that have not been reported yet.
        self._wrong: list[str] = []
        self._leaks = False
        try:
            self._leaks = kmemleak_on()
        except OSError as error:
            self._wrong.append(
                f"the kernel was booted with kmemleak=on, but kmemleak is off or cannot be used: {reason(error)}"
            )
        self._files: list[str] = []
        self._looked = time.monotonic()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """Mark the start of the test in the log."""
        __tracebackhide__ = True
        self._log.mark(item.nodeid)
        return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None]:
        """Check for leaks after the last test of a file, if the last check was long ago or this is the last test."""
        __tracebackhide__ = True
        result = yield
        if nextitem is None or nextitem.path != item.path:
            self._files.append(item.path.name)
            if nextitem is None or time.monotonic() - self._looked > LEAK_INTERVAL:
                self._check_leaks(item)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Check the log after each phase, after all other plugins have determined the outcome."""
        complaint = self.look(item, call.when)
        report = yield
        if not complaint:
            return report
        if report.failed and call.excinfo is not None:
            # The failure of the test itself is shown first.
            report.sections.append(("Kernel", complaint))
            return report
        report.outcome = "failed"
        if hasattr(report, "wasxfail"):
            del report.wasxfail
        try:
            pytest.fail(complaint, pytrace=False)
        except pytest.fail.Exception as failure:
            report.longrepr = item.repr_failure(pytest.ExceptionInfo.from_exception(failure))
        return report

    def look(self, item: pytest.Item | None = None, when: str = "teardown") -> str:
        """Return the errors since the last call as text; an empty string if there are none.

        Args:
            item: The test whose report shows the new lines of the log.
            when: The phase of the test.
        """
        self._check(item, when, self._before + self._take())
        text = "\n\n".join(self._wrong)
        self._before.clear()
        self._wrong.clear()
        return text

    def _take(self) -> list[str]:
        """Return the new lines of the log. If they cannot be read, record an error."""
        try:
            return self._log.take()
        except (OSError, RuntimeError) as error:
            self._wrong.append(f"the kernel's log cannot be read: {reason(error)}")
            return []

    def _check(self, item: pytest.Item | None, when: str, lines: list[str]) -> None:
        """Record the kernel's reports in new lines of the log. Reports without a waiver fail the test."""
        if item is not None and lines:
            item.add_report_section(when, "kernel log", "\n".join(lines))
        counted, waived = complaints(lines, self._waivers)
        for splat, waiver in waived:
            self._show_waived(item, when, str(splat), waiver)
        if counted:
            headlines = "; ".join(map(str, counted))
            shown = "\n\n".join(self._decoded(splat.lines) for splat in counted)
            self._wrong.append(f"the kernel reported errors: {headlines}\n\n{shown}")

    @staticmethod
    def _show_waived(item: pytest.Item | None, when: str, what: str, waiver: Waiver) -> None:
        if item is not None:
            text = f"{what}\nwaived on {waiver.since}: {waiver.reason}"
            item.add_report_section(when, "kernel log, waived", text)

    def _check_leaks(self, item: pytest.Item) -> None:
        """Check for leaks with kmemleak, if it is on, after waiting until it reports the objects of this test."""
        if not self._leaks:
            return
        files = ", ".join(self._files)
        self._files.clear()
        self._check(item, "teardown", self._take())
        end = time.monotonic() + LEAK_AGE
        try:
            # A single scan may miss a pointer that is moving between locations, so scan several times.
            KMEMLEAK.write_text("scan")
            while time.monotonic() < end:
                KMEMLEAK.write_text("scan")
            KMEMLEAK.write_text("scan")
            found = KMEMLEAK.read_text()
            KMEMLEAK.write_text("clear")
        except PermissionError:
            self._wrong.append(
                "kmemleak has turned itself off; the kernel's log may have the reason"
            )
            return
        # Ignore kmemleak's lines in the log, which only say that there are leaks to read.
        said = self._take()
        self._looked = time.monotonic()
        self._check(item, "teardown", [line for line in said if "kmemleak: " not in line])
        leaked = []
        for leak in filter(str.strip, LEAK.split(found)):
            waiver = next((each for each in self._waivers if each.pattern.search(leak)), None)
            if waiver is None:
                leaked.append(self._decoded(leak.splitlines()))
            else:
                self._show_waived(item, "teardown", leak, waiver)
        if leaked:
            shown = "\n".join(leaked)
            self._wrong.append(f"kmemleak found memory leaks after {files}:\n\n{shown}")

    def _decoded(self, lines: Iterable[str]) -> str:
        return "\n".join(decode(lines, self._objects))
