"""A pytest plugin that reports the checks of an exercise in words, and replaces pytest's own output.

The assertions of an exercise have messages in words: what was expected, what the reader's code did, and where to look.
This plugin prints the name of each check and, if it fails, its message. For an exception in the reader's code it prints
a short traceback of the reader's files. It must run without assertion rewriting (``--assert=plain``), which would add
to the messages.
"""

from __future__ import annotations

import linecache
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

INDENT = "         "
WIDTH = 100
PRINTED_LINES = 10


@dataclass
class Check:
    """The result of a test function: of all of its parameters together.

    Attributes:
        cases: the number of cases that ran.
        failures: what is wrong, in words, one text for each case that failed.
    """

    cases: int = 0
    failures: list[str] = field(default_factory=list)


def check_name(function: str) -> str:
    """Turn the name of a test function into words."""
    return function.removeprefix("test_").replace("_", " ")


def _readers_frames(error: BaseException, directory: Path) -> list[tuple[Path, int, str]]:
    """Return the file, line and function of each frame in the reader's files, outermost first."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        path = Path(code.co_filename)
        if path.parent == directory and not path.name.startswith("test_"):
            frames.append((path, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    return frames


def wrapped(text: str, indent: str) -> list[str]:
    """Break the lines of a text at the width of a terminal; lines with an indentation of their own stay whole."""
    lines = []
    for line in text.splitlines():
        whole = line.startswith(" ") or not line
        lines += (
            [indent + line]
            if whole
            else textwrap.wrap(line, WIDTH, initial_indent=indent, subsequent_indent=indent)
        )
    return lines


def hanging(state: str, text: str) -> list[str]:
    """Return a result: the state of a check at the margin, and beside it a text."""
    lines = wrapped(text, INDENT)
    return [f"{state:<{len(INDENT)}}{lines[0].lstrip()}", *lines[1:]]


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def describe(error: BaseException, directory: Path) -> str:
    """Say in words what an exception of a check means to the reader.

    Args:
        error: raised by an assertion of the test, or by the reader's code.
        directory: the reader's directory.
    """
    cause = error.__cause__
    if isinstance(error, pytest.Collector.CollectError) and cause is not None:
        error = cause
    if isinstance(error, SyntaxError) and error.filename:
        return (
            f"{Path(error.filename).name}, line {error.lineno}, is not valid Python: {error.msg}."
        )
    if isinstance(error, ImportError):
        return f"The test cannot import your code: {error}."
    frames = _readers_frames(error, directory)
    if not frames:
        if isinstance(error, (AssertionError, pytest.fail.Exception)):
            return str(error)
        return f"The check cannot use the return value of your code: {_one_line(error)}"
    path, line, function = frames[-1]
    if isinstance(error, NotImplementedError):
        return f"{function}() in {path.name} is not written yet (line {line})."
    lines = [f"Your code raises {_one_line(error)}"]
    for path, line, function in frames:
        lines += [
            f"  {path.name}, line {line}, in {function}:",
            f"    {linecache.getline(str(path), line).strip()}",
        ]
    return "\n".join(lines)


def _printed(text: str) -> str:
    """Return the last lines that the reader's code has printed, as an addition to a message."""
    lines = text.rstrip().splitlines()[-PRINTED_LINES:]
    return "\n".join(["", "Your code printed:", *(f"  {line}" for line in lines)]) if lines else ""


class Feedback:
    """Collects the results of one run, and prints them at its end."""

    def __init__(self, directory: Path) -> None:
        """Start without results; directory is the reader's."""
        self._directory = directory
        self._checks: dict[str, Check] = {}
        self._broken: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Record the result of a case."""
        report = yield
        skipped = report.skipped
        if (report.when == "call" and not skipped) or report.failed:
            check = self._checks.setdefault(getattr(item, "originalname", item.name), Check())
            check.cases += 1
            if call.excinfo is not None:
                words = describe(call.excinfo.value, self._directory)
                check.failures.append(words + _printed(report.capstdout))
        return report

    def pytest_exception_interact(
        self, node: pytest.Item | pytest.Collector, call: pytest.CallInfo[object]
    ) -> None:
        """Record why the checks cannot run at all."""
        if isinstance(node, pytest.Collector) and call.excinfo is not None:
            self._broken.append(describe(call.excinfo.value, self._directory))

    def text(self) -> str:
        """Return the results in words: one line for each check, a message for each that fails, and the total."""
        lines = [line for words in self._broken for line in wrapped(words, "")]
        last = None
        for function, check in self._checks.items():
            state = "not yet" if check.failures else "ok"
            lines += hanging(state, check_name(function))
            if check.failures:
                words = check.failures[0]
                lines += [f"{INDENT}(as above)"] if words == last else wrapped(words, INDENT)
                last = words
            if len(check.failures) > 1:
                lines.append(f"{INDENT}({len(check.failures)} of {check.cases} cases fail.)")
        passed = sum(not check.failures for check in self._checks.values())
        lines.append(f"{passed} of {len(self._checks)} checks pass.")
        return "\n".join(lines)


def pytest_configure(config: pytest.Config) -> None:
    """Begin a run."""
    config.pluginmanager.register(Feedback(config.rootpath), "ksmlab-feedback")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Print the results."""
    feedback = session.config.pluginmanager.get_plugin("ksmlab-feedback")
    capture = session.config.pluginmanager.get_plugin("capturemanager")
    assert feedback is not None
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print(feedback.text())
