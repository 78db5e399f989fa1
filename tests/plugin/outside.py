"""Run the tests of a separate project with a separate pytest, as the authors of the project would run them."""

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
    """Return the environment for a separate pytest, without the variables of the outer one.

    CI and BUILD_NUMBER are removed as well: with one of them, pytest prints failures in the summary at full length.
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
    """The result of a run of pytest.

    Attributes:
        status: The exit status.
        output: The output.
        cases: The elements of the JUnit file, by the name of the test without the name of the kernel.
    """

    status: int
    output: str
    cases: dict[str, ET.Element]

    def section(self, begin: str, end: str) -> str:
        """Return the output between two patterns. The test fails if they do not match."""
        found = re.search(f"{begin}(.*?){end}", self.output, re.DOTALL)
        assert found, f"the output does not match {begin!r} … {end!r}:\n{self.output}"
        return found[1]


class Project:
    """A project: a directory with tests, and perhaps a module.

    Args:
        root: The directory.
        kernels_toml: The file that describes its kernels.
    """

    def __init__(self, root: Path, kernels_toml: str = f"{CHECKOUT}/vm/kernels.toml") -> None:
        self.root = root
        self._kernels_toml = kernels_toml

    def run(
        self, *arguments: str, kernels: tuple[str, ...] = (KERNEL,),
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> Run:  # fmt: skip
        """Run pytest in the project.

        Args:
            arguments: More arguments for pytest.
            kernels: The kernels to run the tests on.
            on_line: Called with each line of the output.
        """
        junit = self.root / "junit.xml"
        junit.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "pytest", "-v", f"--junitxml={junit}"]
        # The project does not need these plugins, which each guest would have to import.
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
