"""Build the driver with each deliberate bug, and check that the tests detect it: ``make mutants``.

A driver with a bug is called a mutant. It is caught if the test that is named for it fails, and its output matches the
expected sign. As a control, the same tests must pass with the unmodified driver.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mutants import MUTANTS, Mutant, make
from rich.console import Console
from rich.table import Table

from ksmlab.lab import CHECKOUT, Lab
from ksmlab.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAILED_TEST = re.compile(r"^(?:FAILED|ERROR|LOST) (tests/vm/\S+\.py(?:::\S+)?)")
#: The name of the control, which runs the tests of all mutants with the unmodified driver.
CONTROL = "the driver as it is"
#: A regular expression that matches nothing.
NEVER = r"(?!)"
LINES_SHOWN = 40
SIGN_SHOWN = 90
#: The width of tables if the output is not a terminal.
WIDTH = 160


@dataclass(frozen=True)
class Trial:
    """The result of one mutant on one kernel.

    Attributes:
        mutant: The name of the mutant, or CONTROL.
        kernel: The name of the kernel.
        test: The test that must fail; empty for the control.
        failed: The tests that failed.
        status: The exit status of pytest.
        sign: The line of output that matches the expected sign; empty if there is none.
        lines: All lines of output.
        seconds: The duration in seconds.
    """

    mutant: str
    kernel: str
    test: str
    failed: tuple[str, ...]
    status: int
    sign: str
    lines: tuple[str, ...]
    seconds: float

    @classmethod
    def of(
        cls, mutant: str, kernel: str, test: str, sign: str, status: int, lines: Sequence[str],
        seconds: float,
    ) -> Trial:  # fmt: skip
        """Return the result of a run of pytest.

        Args:
            mutant: The name of the mutant.
            kernel: The name of the kernel.
            test: The test that must fail; empty for the control.
            sign: A regular expression for the expected sign.
            status: The exit status of pytest.
            lines: All lines of output.
            seconds: The duration in seconds.
        """
        failed = dict.fromkeys(found[1] for line in lines if (found := FAILED_TEST.match(line)))
        signs = [line.strip() for line in lines if status and re.search(sign, line)]
        seen = signs[-1] if signs else ""
        return cls(mutant, kernel, test, tuple(failed), status, seen, tuple(lines), seconds)

    @property
    def by(self) -> str:
        """The failed test that is the expected one; empty if there is none."""
        return next((name for name in self.failed if name.partition("[")[0] == self.test), "")

    @property
    def good(self) -> bool:
        """Whether the mutant was caught as expected, or the control passed."""
        if self.mutant == CONTROL:
            return self.status == 0
        return bool(self.by and self.sign)

    @property
    def verdict(self) -> str:
        """The result in a word or two."""
        if self.mutant == CONTROL:
            return "passed" if self.good else "FAILED"
        if self.good:
            return "caught"
        if self.failed:
            return "NOT AS MEANT"
        # pytest itself failed, and not a test, if no test failed and the status is not 0.
        return "SURVIVED" if self.status == 0 else "NOT RUN"


def run(
    source: Path, tests: Sequence[str], boot_args: Sequence[str], kernel_name: str, directory: Path
) -> tuple[int, list[str]]:
    """Build a driver and run VM tests with it.

    Args:
        source: The directory of the driver's sources, which are only read.
        tests: The tests, as arguments of pytest.
        boot_args: More arguments for the kernel's command line.
        kernel_name: The name of the kernel.
        directory: The directory to build in.

    Returns:
        The exit status of pytest, and all lines of its output.
    """
    argv = [sys.executable, "-m", "pytest", "-x", "--tb=short", "-p", "no:cacheprovider", *tests]
    argv += ["--kernel", kernel_name, "-o", f"vm_modules={source}", "-o", f"vm_build={directory}"]
    argv += [f"--vm-boot={argument}" for argument in boot_args]
    # Remove the variables that an outer pytest has set.
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        argv, cwd=CHECKOUT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, text=True, errors="replace", check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines()


def control(kernel: str, mutants: Sequence[Mutant], directory: Path) -> Trial:
    """Run the tests of all mutants of one kernel with the unmodified driver."""
    here = [mutant for mutant in mutants if kernel in mutant.kernels]
    tests = sorted({mutant.test for mutant in here})
    boot_args = sorted({argument for mutant in here for argument in mutant.boot_args})
    start = time.monotonic()
    source = CHECKOUT / "kernel"
    status, lines = run(source, tests, boot_args, kernel, directory)
    return Trial.of(CONTROL, kernel, "", NEVER, status, lines, time.monotonic() - start)


def trial(mutant: Mutant, kernel: str, directory: Path) -> Trial:
    """Run one mutant on one kernel.

    Args:
        mutant: The mutant.
        kernel: The name of the kernel.
        directory: An empty directory for the copy of the sources and the build.
    """
    start = time.monotonic()
    directory.mkdir(parents=True, exist_ok=True)
    make(mutant, CHECKOUT / "kernel", directory / "source")
    status, lines = run(directory / "source", [mutant.test], mutant.boot_args, kernel, directory)
    seconds = time.monotonic() - start
    return Trial.of(mutant.name, kernel, mutant.test, mutant.sign, status, lines, seconds)


def table(trials: Sequence[Trial]) -> Table:
    """Return a table of the results."""
    shown = Table("mutant", "kernel", "verdict", "by", "as seen in", "s")
    for column, wrapped in zip(
        shown.columns, (False, False, False, True, True, False), strict=True
    ):
        column.no_wrap = not wrapped
        column.overflow = "fold"
    for each in trials:
        by = each.by.rpartition("::")[2] or each.by
        seen = each.sign.removeprefix("E ").strip()
        shown.add_row(
            each.mutant, each.kernel, each.verdict, by, seen[:SIGN_SHOWN], f"{each.seconds:.0f}",
            style="" if each.good else "bold red",
        )  # fmt: skip
    return shown


def keep(done: Trial, directory: Path) -> Path:
    """Write the output of a trial to a file, and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", done.mutant).strip("-")
    path = directory / f"{name}.{done.kernel}.log"
    path.write_text("\n".join(done.lines) + "\n")
    return path


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument(
        "words", nargs="*", help="run only mutants whose names contain one of these words"
    )
    parser.add_argument(
        "--kernel", action="append", help="run only on this kernel; may be repeated"
    )
    parser.add_argument("--no-control", action="store_true", help="do not run the control")
    parser.add_argument(
        "--jobs", type=int, default=2, help="the number of VMs that run in parallel"
    )
    parser.add_argument(
        "--list", action="store_true", help="list the mutants instead of running them"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the mutants that the arguments select.

    Returns:
        0 if each was caught as expected and the control passed, 1 if not, 2 if no mutant was selected.
    """
    options = arguments(argv)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    chosen = [
        mutant
        for mutant in MUTANTS
        if not options.words or any(word in mutant.name for word in options.words)
    ]
    kernels = options.kernel or sorted({name for mutant in chosen for name in mutant.kernels})
    if not options.list and not options.kernel and kernels:
        kernels = Lab(Progress()).store.available(kernels)
    pairs = [(mutant, name) for mutant in chosen for name in mutant.kernels if name in kernels]
    if not pairs:
        console.print("No mutant matches the arguments. --list lists all mutants.")
        return 2
    if options.list:
        for mutant, name in pairs:
            print(f"{name:12} {mutant.name} [{mutant.test}]")
        return 0
    with tempfile.TemporaryDirectory(prefix="ksmlab-mutants-") as place:
        trials = run_all(chosen, pairs, kernels, Path(place), options, console)
    console.print(table(trials))
    bad = [each for each in trials if not each.good]
    for each in bad:
        console.rule(f"{each.mutant}, {each.kernel}: {each.verdict}")
        print("\n".join(each.lines[-LINES_SHOWN:]))
    caught = sum(each.good for each in trials if each.mutant != CONTROL)
    print(f"{caught} of {len(pairs)} caught")
    return 1 if bad else 0


def run_all(
    chosen: Sequence[Mutant], pairs: Sequence[tuple[Mutant, str]], kernels: Sequence[str],
    place: Path, options: argparse.Namespace, console: Console,
) -> list[Trial]:  # fmt: skip
    """Run the control and the mutants, and print each result when it is known."""
    printing = threading.Lock()

    def told(work: Callable[[], Trial]) -> Trial:
        done = work()
        log = keep(done, CHECKOUT / "build/mutants")
        with printing:
            console.print(
                f"{done.kernel}: {done.mutant}: {done.verdict} ({done.seconds:.0f} s), {log}",
                highlight=False,
                soft_wrap=True,
            )
        return done

    jobs: list[Callable[[], Trial]] = []
    if not options.no_control:
        jobs += [partial(control, name, chosen, place / f"control-{name}") for name in kernels]
    jobs += [
        partial(trial, mutant, name, place / f"{number}-{name}")
        for number, (mutant, name) in enumerate(pairs)
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        return list(pool.map(told, jobs))


if __name__ == "__main__":
    sys.exit(main())
