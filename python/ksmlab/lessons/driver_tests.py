"""The step of an exercise that is done in the driver: build the reader's driver, test it in a VM, report in words.

pytest's own output goes to a file in the reader's directory. This module is also a pytest plugin, which writes down the
results of the tests on the host. In the VM it does nothing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksmlab.lessons.feedback import INDENT, hanging, wrapped

if TYPE_CHECKING:
    import pytest

#: In the environment of pytest on the host: the file to which this plugin appends results.
RESULTS_VARIABLE = "KSMLAB_DRIVER_RESULTS"
LOG_LINES = 40


@dataclass(frozen=True)
class DriverTest:
    """A test of the driver, as driver.toml has it.

    Attributes:
        node: its name for pytest.
        checks: what it checks, in words.
    """

    node: str
    checks: str


@dataclass(frozen=True)
class DriverRun:
    """A finished run.

    Attributes:
        status: pytest's exit status.
        text: the result in words.
    """

    status: int
    text: str


def read_tests(driver: Path) -> list[DriverTest]:
    """Return the tests of a driver.toml, its tables ``[[test]]``, in the order in which they run."""
    found = tomllib.loads(driver.read_text())
    return [DriverTest(each["id"], each["checks"]) for each in found["test"]]


def failure_words(longrepr: object) -> str:
    """Return the first line of a failure's message, or nothing if that line is only an expression or a value."""
    crash = getattr(longrepr, "reprcrash", None)
    text = str(crash.message if crash is not None else longrepr or "").strip()
    line = text.splitlines()[0] if text else ""
    line = line.removeprefix("AssertionError: ").removeprefix("Failed: ")
    return "" if line.startswith(("assert ", "AssertionError", "{", "[", "(")) else line


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Append a result to the file that the environment names, if it names one."""
    if (path := os.environ.get(RESULTS_VARIABLE)) and (report.when == "call" or report.failed):
        result = {
            "node": report.nodeid,
            "outcome": report.outcome,
            "words": failure_words(report.longrepr),
        }
        with Path(path).open("a") as results:
            results.write(json.dumps(result) + "\n")


def compiler_errors(output: str, built: Path) -> list[str]:
    """Return the compiler's messages, without the output of make.

    Args:
        output: the output of a build.
        built: the directory of the build, which the messages need not name.
    """
    lines = [
        re.sub(rf"{re.escape(str(built))}/[^/]+/", "", line)
        for line in output.splitlines()
        if not re.match(r"(ERROR: )?make|  [A-Z]+ ", line)
    ]
    ends = [number for number, line in enumerate(lines) if line.startswith("The modules in ")]
    return lines[: ends[0]] if ends and any("error:" in line for line in lines) else []


def belongs(node: str, test: DriverTest) -> bool:
    """Return whether a result is one of a test's: with other parameters, or from the file that the test names."""
    name = node.partition("[")[0]
    return name == test.node or name.startswith(f"{test.node}::")


def describe(tests: list[DriverTest], results: list[dict[str, Any]]) -> list[str]:
    """Return the results in words: one line for each test that ran, and why it failed.

    Args:
        tests: the tests, in the order in which they run.
        results: the lines that the plugin has written.
    """
    lines = []
    for test in tests:
        mine = [each for each in results if belongs(each["node"], test)]
        failed = [each for each in mine if each["outcome"] == "failed"]
        state = "not yet" if failed else "ok" if mine else "not run"
        lines += hanging(state, test.checks)
        if failed:
            lines += wrapped(failed[0]["words"], INDENT)
            lines.append(f"{INDENT}The test is {test.node}.")
    return lines


def run(driver: Path, checkout: Path, target: Path, kernel: str) -> DriverRun:
    """Build the reader's driver, and run the tests of the part that was left out, until one fails.

    Args:
        driver: the driver.toml.
        checkout: the directory with the tests.
        target: the reader's directory.
        kernel: the kernel to test on.
    """
    tests = read_tests(driver)
    results, log = target / "driver-results.jsonl", target / "driver-tests.log"
    results.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-x", "--tb=short", "-p", "no:cacheprovider"]
    command += ["-p", __name__, *(test.node for test in tests), "--kernel", kernel]
    command += ["-o", f"vm_modules={target / 'kernel'}", "-o", f"vm_build={target / 'built'}"]
    # The variables of an outer pytest are not meant for this one.
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    env[RESULTS_VARIABLE] = str(results)
    done = subprocess.run(
        command, cwd=checkout, env=env, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    log.write_text(output)
    lines = results.read_text().splitlines() if results.is_file() else []
    words = describe(tests, [json.loads(line) for line in lines])
    if done.returncode and not any(line.startswith("not yet") for line in words):
        if errors := compiler_errors(done.stderr, target / "built"):
            words = ["Your driver does not compile:", *errors]
        else:
            words = ["The tests could not run:", *output.splitlines()[-LOG_LINES:]]
    if done.returncode:
        words.append(f"The complete output is in {log}.")
    return DriverRun(done.returncode, "\n".join(words))
