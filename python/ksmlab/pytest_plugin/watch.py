"""The guest's watch over its kernel: each test has a slice of the log of its own, and a complaint in it fails the test.

However green its asserts; and also if the log could not be read.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ksmlab.pytest_plugin.kernel_log import Excuse, KernelLog, complaints, load_excuses
from ksmlab.vm.decode import decode

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from ksmlab.pytest_plugin.wire import Frame

KMEMLEAK = Path("/sys/kernel/debug/kmemleak")
#: kmemleak reports what is older than this (mm/kmemleak.c, MSECS_MIN_AGE), in seconds.
LEAK_AGE = 5.0
#: Two scans can take minutes under emulation, so a file that ends sooner than so many seconds after the last look for
#: leaks waits for the next one.
LEAK_INTERVAL = 300.0


def kmemleak_on() -> bool:
    """Say whether this kernel has kmemleak and it is on; it then scans when it is told to, and not by itself."""
    try:
        KMEMLEAK.write_text("scan=off")
    except (FileNotFoundError, PermissionError):
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
        self._excuses: tuple[Excuse, ...] = load_excuses(Path(allow)) if allow else ()
        self._objects = {name: Path(path) for name, path in setup["objects"].items()}
        self._log = KernelLog()
        self._before = self._log.take()
        self._leaks = kmemleak_on()
        self._files: list[str] = []
        self._looked = time.monotonic()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """Begin a slice; check after the setup. The first one is charged with what came before it."""
        __tracebackhide__ = True
        self._log.mark(item.nodeid)
        before, self._before = self._before, []
        try:
            result = yield
        except BaseException as error:
            self._annotate(item, "setup", error)
            raise
        if complaints(before, self._excuses)[0]:
            self._check(item, "setup", before)
        self._check(item, "setup", self._log.take())
        return result

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        """Check after the test itself."""
        __tracebackhide__ = True
        try:
            result = yield
        except BaseException as error:
            self._annotate(item, "call", error)
            raise
        self._check(item, "call", self._log.take())
        return result

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None]:
        """Check after the teardown; after the last test of a file, now and then, look for leaks, too."""
        __tracebackhide__ = True
        try:
            result = yield
        except BaseException as error:
            self._annotate(item, "teardown", error)
            raise
        self._check(item, "teardown", self._log.take())
        if nextitem is None or nextitem.path != item.path:
            self._files.append(item.path.name)
            if nextitem is None or time.monotonic() - self._looked > LEAK_INTERVAL:
                self._check_leaks(item)
        return result

    def _check(self, item: pytest.Item, when: str, lines: list[str]) -> None:
        """Fail the test if the kernel complained in these lines."""
        if lines:
            item.add_report_section(when, "kernel log", "\n".join(lines))
        counted, excused = complaints(lines, self._excuses)
        for splat, excuse in excused:
            text = f"{splat}\nexcused on {excuse.since}: {excuse.reason}"
            item.add_report_section(when, "kernel log, excused", text)
        if counted:
            headlines = "; ".join(map(str, counted))
            shown = "\n\n".join(self._decoded(splat.lines) for splat in counted)
            pytest.fail(f"the kernel complained: {headlines}\n\n{shown}", pytrace=False)

    def _annotate(self, item: pytest.Item, when: str, error: BaseException) -> None:
        """Have what the kernel said go with a failure of the test's own, which comes first."""
        try:
            self._check(item, when, self._log.take())
        except pytest.fail.Exception as complaint:
            error.add_note(str(complaint))

    def _check_leaks(self, item: pytest.Item) -> None:
        """Have kmemleak look, if it is on, once it may see all that this test left."""
        if not self._leaks:
            return
        files = ", ".join(self._files)
        self._files.clear()
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
            pytest.fail("kmemleak has switched itself off: the log says why", pytrace=False)
        # That there is something to read there is all that the log has to say of it.
        said = self._log.take()
        self._looked = time.monotonic()
        self._check(item, "teardown", [line for line in said if "kmemleak: " not in line])
        if found.strip() and not any(each.pattern.search(found) for each in self._excuses):
            shown = self._decoded(found.splitlines())
            pytest.fail(f"kmemleak found what {files} left behind:\n\n{shown}", pytrace=False)

    def _decoded(self, lines: Iterable[str]) -> str:
        return "\n".join(decode(lines, self._objects))
