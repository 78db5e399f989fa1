"""What the guest says of its kernel's complaints and leaks; the log and kmemleak are stand-ins here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ksmlab.pytest_plugin import watch

if TYPE_CHECKING:
    from collections.abc import Sequence

pytest_plugins = ["pytester"]

LEAK = "unreferenced object 0xffff888000000000 (size 8):\n"
WAIVED_LEAK = "unreferenced object 0xffff888000000008 (size 8):\n    at the waived place\n"
SPLAT = "WARNING: CPU: 0 PID: 1 at mm/foo.c:12 foo+0x1/0x2"
WAIVERS = """
[[allow]]
pattern = "at the waived place"
reason = "known"
since = 2026-01-31
"""
#: A project's conftest.py: what its tests have the kernel say.
CONFTEST = f"""
import pytest
from ksmlab.pytest_plugin import watch
def warn(line={SPLAT!r}):
    watch.KernelLog.lines.append(line)
@pytest.fixture
def warning():
    return warn
@pytest.fixture
def warning_first():
    warn()
@pytest.fixture
def warning_last():
    yield
    warn()
def pytest_runtest_logfinish(nodeid):
    if "before_the_next" in nodeid:
        warn()
"""


class Kmemleak:
    """Has something to report once it has scanned twice, like an object that is new."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.report = LEAK

    def write_text(self, command: str) -> None:
        self.commands.append(command)

    def read_text(self) -> str:
        return self.report if self.commands.count("scan") >= 2 else ""


class Log:
    """A kernel's log; the project's tests add to its lines."""

    lines: ClassVar[list[str]] = []

    def mark(self, nodeid: str) -> None:
        """There is nothing to be told apart."""

    def take(self) -> list[str]:
        lines = self.lines.copy()
        self.lines.clear()
        if "unreadable" in lines:
            raise OSError("it cannot be read")
        return lines


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> type[Log]:
    Log.lines.clear()
    monkeypatch.setattr(watch, "KernelLog", Log)
    monkeypatch.setattr(watch, "kmemleak_on", lambda: False)
    # A pytest in this one need not know more than pytest.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Log


@pytest.fixture
def kmemleak(monkeypatch: pytest.MonkeyPatch) -> Kmemleak:
    fake = Kmemleak()
    monkeypatch.undo()
    monkeypatch.setattr(watch, "KernelLog", Log)
    monkeypatch.setattr(watch, "KMEMLEAK", fake)
    monkeypatch.setattr(watch, "LEAK_AGE", 0.0)
    return fake


def outcomes(pytester: pytest.Pytester, source: str, allow: str = "") -> dict[str, list[str]]:
    """Run a file of tests under watch; give for each what pytest says of each of its phases, with the reason."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("import pytest\n" + source)
    guard = watch.Watch({"allow": allow, "objects": {}})
    seen: dict[str, list[str]] = {}

    class Listen:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            sections = ", ".join(title for title, _ in report.sections)
            word = f"{report.outcome} {getattr(report, 'wasxfail', '')}|{report.longreprtext}|{sections}"
            seen.setdefault(report.nodeid.rpartition("::")[2], []).append(word)

    pytester.inline_run("-q", plugins=[guard, Listen()])
    return seen


def failed(phases: Sequence[str]) -> list[int]:
    """Give which phases failed because of what the kernel said, and of nothing else."""
    begin = f"failed |the kernel reported errors: WARNING: {SPLAT}"
    return [number for number, word in enumerate(phases) if word.startswith(begin)]


def test_a_complaint_fails_whatever_else_the_test_says(pytester: pytest.Pytester) -> None:
    seen = outcomes(
        pytester,
        """
expected = pytest.mark.xfail(reason="r", strict=False)
def test_green_1(warning): warning()
def test_skips_1(warning): warning(); pytest.skip("not here")
@pytest.mark.xfail(strict=True, reason="r")
def test_expected_green_1(warning): warning()
@expected
def test_perhaps_green_1(warning): warning()
@expected
def test_expected_1(warning): warning(); assert 0
def test_expects_1(warning): warning(); pytest.xfail("known")
def test_first_0(warning_first): pass
@expected
def test_expected_first_0(warning_first): pass
def test_last_2(warning_last): pass
@expected
def test_expected_last_2(warning_last): assert 0
""",
    )
    assert len(seen) == 10
    for name, phases in seen.items():
        phase = int(name[-1])
        assert failed(phases) == [phase], name
        assert "kernel log" in phases[phase]


def test_a_failure_of_the_tests_own_comes_first(pytester: pytest.Pytester) -> None:
    _, call, _ = outcomes(pytester, "def test_x(warning): warning(); assert 2 == 3")["test_x"]
    assert call.startswith("failed |")
    assert "assert 2 == 3" in call
    assert call.endswith(", Kernel")


def test_what_comes_between_two_tests_is_the_next_ones_even_if_it_skips(
    pytester: pytest.Pytester,
) -> None:
    seen = outcomes(
        pytester,
        "def test_before_the_next(): pass\n"
        "@pytest.mark.skip(reason='not today')\ndef test_next(): pass\n"
        "def test_last(): pass",
    )
    assert {name: failed(phases) for name, phases in seen.items()} == {
        "test_before_the_next": [], "test_next": [0], "test_last": [],
    }  # fmt: skip


def test_what_the_boot_complained_of_is_charged_to_the_first_test_even_if_it_skips(
    pytester: pytest.Pytester, log: type[Log]
) -> None:
    log.lines += ["Linux version", SPLAT]
    seen = outcomes(
        pytester, "@pytest.mark.skip(reason='r')\ndef test_x(): pass\ndef test_y(): pass"
    )
    assert failed(seen["test_x"]) == [0]
    assert failed(seen["test_y"]) == []


def test_a_boot_without_complaints_is_in_no_report(
    pytester: pytest.Pytester, log: type[Log]
) -> None:
    log.lines.append("Linux version")
    assert "kernel log" not in "".join(outcomes(pytester, "def test_x(): pass")["test_x"])


def test_waived_report_is_shown_and_the_test_passes(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    allow = tmp_path / "allow.toml"
    allow.write_text(WAIVERS)
    source = "def test_x(warning): warning('WARNING: at the waived place')"
    _, call, _ = outcomes(pytester, source, str(allow))["test_x"]
    assert call.startswith("passed")
    assert "kernel log, waived" in call


def test_a_log_that_cannot_be_read_fails_a_test_that_skips(pytester: pytest.Pytester) -> None:
    source = "def test_x(warning): warning('unreadable'); pytest.skip('r')"
    _, call, _ = outcomes(pytester, source)["test_x"]
    assert call.startswith("failed")
    assert "the kernel's log cannot be read: it cannot be read" in call


def tear_down(files: Sequence[str], allow: str = "") -> list[str]:
    """Tear down one test of each of these files, in turn; give what the look after each says."""
    guard = watch.Watch({"allow": allow, "objects": {}})
    said = []
    items: list[Any] = [
        SimpleNamespace(path=Path(file), add_report_section=lambda *_: None) for file in files
    ]
    for item, following in zip(items, [*items[1:], None], strict=True):
        hook = guard.pytest_runtest_teardown(item, following)
        next(hook)
        with pytest.raises(StopIteration):
            hook.send(None)
        said.append(guard.look(item))
    return said


def test_a_leak_is_looked_for_at_the_end(kmemleak: Kmemleak) -> None:
    *others, last = tear_down(["a.py", "a.py", "b.py"])
    assert others == ["", ""]
    assert "memory leaks after a.py, b.py" in last
    assert "unreferenced object" in last
    assert kmemleak.commands == ["scan=off", "scan", "scan", "clear"]


def test_and_after_a_file_when_the_last_look_was_long_ago(
    kmemleak: Kmemleak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LEAK_INTERVAL", -1.0)
    first, second, _ = tear_down(["a.py", "a.py", "b.py"])
    assert first == ""
    assert "memory leaks after a.py" in second


def test_waiver_covers_its_own_leak_only(kmemleak: Kmemleak, tmp_path: Path) -> None:
    allow = tmp_path / "allow.toml"
    allow.write_text(WAIVERS)
    kmemleak.report = WAIVED_LEAK + LEAK
    (said,) = tear_down(["a.py"], str(allow))
    assert "0xffff888000000000" in said
    assert "0xffff888000000008" not in said
    kmemleak.report = WAIVED_LEAK
    assert tear_down(["a.py"], str(allow)) == [""]


def test_without_kmemleak_no_scan_is_started(
    kmemleak: Kmemleak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "kmemleak_on", lambda: False)
    assert tear_down(["a.py", "b.py"]) == ["", ""]
    assert kmemleak.commands == []


@pytest.mark.parametrize(("cmdline", "wrong"), [("ro kmemleak=on quiet\n", True), ("ro\n", False)])
def test_kmemleak_that_was_asked_for_and_is_off_is_a_complaint(
    kmemleak: Kmemleak, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cmdline: str, wrong: bool
) -> None:  # fmt: skip
    (tmp_path / "cmdline").write_text(cmdline)
    monkeypatch.setattr(watch, "CMDLINE", tmp_path / "cmdline")
    monkeypatch.setattr(watch, "KMEMLEAK", tmp_path / "not" / "there")
    guard = watch.Watch({"allow": "", "objects": {}})
    assert ("kmemleak is off" in guard.look()) == wrong
    assert guard.look() == ""
