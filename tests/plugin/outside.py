"""A project of its own, run by a pytest of its own, as its authors would run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
RUN_SECONDS = 2400.0


def environment() -> dict[str, str]:
    """Give the environment of a pytest of its own: what is meant for the one around it is not in it.

    With one of CI or BUILD_NUMBER set, pytest prints each failure a second time, at full length.
    """
    keep_out = ("PYTEST_", "COV_", "KSMLAB_MODULE")
    for_servers = ("CI", "BUILD_NUMBER")
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(keep_out) and key not in for_servers
    }


@dataclass(frozen=True)
class Run:
    """A pytest that has ended.

    Attributes:
        status: Its exit status.
        output: What it printed.
        cases: What its JUnit file says of each test, by name, without the kernel's.
    """

    status: int
    output: str
    cases: dict[str, ET.Element]

    def section(self, begin: str, end: str) -> str:
        """Give the output between two patterns; the assertion fails if they are not there."""
        found = re.search(f"{begin}(.*?){end}", self.output, re.DOTALL)
        assert found, f"no {begin!r} … {end!r} in:\n{self.output}"
        return found[1]


class Project:
    """A directory with tests, and perhaps a module.

    Args:
        root: Where it is.
        kernels_toml: The description of its kernels.
    """

    def __init__(self, root: Path, kernels_toml: str = f"{CHECKOUT}/vm/kernels.toml") -> None:
        """Keep both; nothing runs yet."""
        self.root = root
        self._kernels_toml = kernels_toml

    def run(
        self, *arguments: str, kernels: tuple[str, ...] = (KERNEL,),
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> Run:  # fmt: skip
        """Run pytest there.

        Args:
            arguments: More arguments.
            kernels: The --kernel options.
            on_line: Called with each line of its output.
        """
        junit = self.root / "junit.xml"
        junit.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "pytest", "-v", f"--junitxml={junit}"]
        # Neither is of use to it, and each guest would import them.
        argv += ["-p", "no:hypothesispytest", "-p", "no:anyio"]
        argv += ["-o", f"vm_kernels={self._kernels_toml}", "--vm-memory=1G", *arguments]
        argv += [part for kernel in kernels for part in ("--kernel", kernel)]
        env = environment() | {"PYTHONUNBUFFERED": "1", "COLUMNS": "120"}
        process = subprocess.Popen(
            argv, cwd=self.root, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
        )  # fmt: skip
        overdue = threading.Timer(RUN_SECONDS, lambda: process.send_signal(signal.SIGINT))
        overdue.start()
        lines = []
        assert process.stdout is not None
        with process, process.stdout:
            for line in process.stdout:
                lines.append(line)
                on_line(line)
        overdue.cancel()
        cases = {}
        if junit.exists():
            for case in ET.parse(junit).iter("testcase"):
                cases[case.attrib["name"].replace(f"[{KERNEL}]", "")] = case
        return Run(process.returncode, "".join(lines), cases)
