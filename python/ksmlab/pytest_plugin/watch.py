"""The guest's watch over its kernel: each test has a slice of the log of its own, and a complaint in it fails the test.

However green its asserts, and also if it skips itself or is expected to fail; and also if the log could not be read.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ksmlab.pytest_plugin.kernel_log import KernelLog, complaints
from ksmlab.vm.decode import decode
from ksmlab.vm.waivers import Waiver, load_waivers

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from ksmlab.pytest_plugin.wire import Frame

KMEMLEAK = Path("/sys/kernel/debug/kmemleak")
CMDLINE = Path("/proc/cmdline")
#: kmemleak reports what is older than this (mm/kmemleak.c, MSECS_MIN_AGE), in seconds.
LEAK_AGE = 5.0
#: Two scans can take minutes under emulation, so a file that ends sooner than so many seconds after the last look for
#: leaks waits for the next one.
LEAK_INTERVAL = 300.0
#: Each leak that kmemleak reports begins so.
LEAK = re.compile(r"^(?=unreferenced object)", re.MULTILINE)


def kmemleak_wanted() -> bool:
    """Say whether this kernel was booted with kmemleak=on."""
    return "kmemleak=on" in CMDLINE.read_text().split()


def kmemleak_on() -> bool:
    """Say whether this kernel has kmemleak and it is on; it then scans when it is told to, and not by itself.

    Raises:
        OSError: It is off, though the kernel was booted with it.
    """
    try:
        KMEMLEAK.write_text("scan=off")
    except (FileNotFoundError, PermissionError):
        if kmemleak_wanted():
            raise
        return False
    return True


class Watch:
    """Check the kernel's log after each phase of each test.

    Args:
        setup: What the host sent.
    """

    def __init__(self, setup: Frame) -> None:
        """Open the log, and keep what the kernel complained about before the first test.

        Raises:
            OSError: /dev/kmsg cannot be opened.
            ValueError: The allow-list is not one.
        """
        allow = setup["allow"]
        self._waivers: tuple[Waiver, ...] = load_waivers(Path(allow)) if allow else ()
        self._objects = {name: Path(path) for name, path in setup["objects"].items()}
        self._log = KernelLog()
        # Complaints from before the first test belong to no test; its first report carries them.
        self._before = self._log.take()
        if not complaints(self._before, self._waivers)[0]:
            self._before.clear()
        # What is wrong and is in no report yet.
        self._wrong: list[str] = []
        self._leaks = False
        try:
            self._leaks = kmemleak_on()
        except OSError as error:
            self._wrong.append(
                f"kmemleak=on, and yet kmemleak is off or not to be reached: {error}"
            )
        self._files: list[str] = []
        self._looked = time.monotonic()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """Begin a slice."""
        __tracebackhide__ = True
        self._log.mark(item.nodeid)
        return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None]:
        """After the last test of a file, now and then, look for leaks."""
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
        """Check the log after each phase, however it ended, once every other plugin has settled the outcome."""
        complaint = self.look(item, call.when)
        report = yield
        if not complaint:
            return report
        if report.failed and call.excinfo is not None:
            # Its own failure comes first.
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
        """Give what the kernel has complained about since the last look, as a text; nothing if it has not.

        Args:
            item: The test whose report shows the lines.
            when: Its phase.
        """
        self._check(item, when, self._before + self._take())
        text = "\n\n".join(self._wrong)
        self._before.clear()
        self._wrong.clear()
        return text

    def _take(self) -> list[str]:
        """Give the new lines of the log; that they cannot be read is a complaint."""
        try:
            return self._log.take()
        except (OSError, RuntimeError) as error:
            self._wrong.append(f"the kernel's log cannot be read: {error}")
            return []

    def _check(self, item: pytest.Item | None, when: str, lines: list[str]) -> None:
        """Record the reports in these lines; those that no waiver covers fail the test."""
        if item is not None and lines:
            item.add_report_section(when, "kernel log", "\n".join(lines))
        counted, waived = complaints(lines, self._waivers)
        for splat, waiver in waived:
            self._show_waived(item, when, str(splat), waiver)
        if counted:
            headlines = "; ".join(map(str, counted))
            shown = "\n\n".join(self._decoded(splat.lines) for splat in counted)
            self._wrong.append(f"the kernel complained: {headlines}\n\n{shown}")

    @staticmethod
    def _show_waived(item: pytest.Item | None, when: str, what: str, waiver: Waiver) -> None:
        if item is not None:
            text = f"{what}\nwaived on {waiver.since}: {waiver.reason}"
            item.add_report_section(when, "kernel log, waived", text)

    def _check_leaks(self, item: pytest.Item) -> None:
        """Have kmemleak look, if it is on, once it may see all that this test left."""
        if not self._leaks:
            return
        files = ", ".join(self._files)
        self._files.clear()
        self._check(item, "teardown", self._take())
        end = time.monotonic() + LEAK_AGE
        try:
            # What is found in one scan may only be a pointer on its way; what a later one finds is leaked.
            KMEMLEAK.write_text("scan")
            while time.monotonic() < end:
                KMEMLEAK.write_text("scan")
            KMEMLEAK.write_text("scan")
            found = KMEMLEAK.read_text()
            KMEMLEAK.write_text("clear")
        except PermissionError:
            self._wrong.append("kmemleak has switched itself off: the log says why")
            return
        # That there is something to read there is all that the log has to say of it.
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
            self._wrong.append(f"kmemleak found what {files} left behind:\n\n{shown}")

    def _decoded(self, lines: Iterable[str]) -> str:
        return "\n".join(decode(lines, self._objects))
