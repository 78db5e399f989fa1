"""Run the mutants, and say which test has caught each: ``make mutants``.

A mutant is caught when the test that is named for it fails, and fails in the way that is meant.
Before them, the same tests have to pass on the driver as it is: the control.
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
#: The driver as it is, tried with everything that the mutants are tried with.
CONTROL = "the driver as it is"
#: A regular expression that matches nothing.
NEVER = r"(?!)"
LINES_SHOWN = 40
SIGN_SHOWN = 90
#: Of the tables, where the output is no terminal.
WIDTH = 160


@dataclass(frozen=True)
class Trial:
    """One mutant on one kernel.

    Attributes:
        mutant: its name, or CONTROL.
        kernel: the name of the kernel.
        test: the test that was to fail; empty for the control.
        failed: the tests that failed.
        status: pytest's exit status.
        sign: the line that shows the failure that is meant; empty if there is none.
        lines: all that was said.
        seconds: how long it took.
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
        """Read pytest's lines.

        Args:
            mutant: its name.
            kernel: the name of the kernel.
            test: the test that was to fail; empty for the control.
            sign: a regular expression: the failure that is meant.
            status: pytest's exit status.
            lines: all that was said.
            seconds: how long it took.
        """
        failed = dict.fromkeys(found[1] for line in lines if (found := FAILED_TEST.match(line)))
        signs = [line.strip() for line in lines if status and re.search(sign, line)]
        seen = signs[-1] if signs else ""
        return cls(mutant, kernel, test, tuple(failed), status, seen, tuple(lines), seconds)

    @property
    def by(self) -> str:
        """The failed test that is the one meant; empty if there is none."""
        return next((name for name in self.failed if name.partition("[")[0] == self.test), "")

    @property
    def good(self) -> bool:
        """Whether the mutant was caught as it should be; or the control passed."""
        if self.mutant == CONTROL:
            return self.status == 0
        return bool(self.by and self.sign)

    @property
    def verdict(self) -> str:
        """A word or two."""
        if self.mutant == CONTROL:
            return "passed" if self.good else "FAILED"
        if self.good:
            return "caught"
        if self.failed:
            return "NOT AS MEANT"
        # Another status than 0 and 1 is pytest's own trouble; so is a failure that is no test's.
        return "SURVIVED" if self.status == 0 else "NOT RUN"


def run(
    source: Path, tests: Sequence[str], boot_args: Sequence[str], kernel_name: str, directory: Path
) -> tuple[int, list[str]]:
    """Build a driver and run VM tests with it.

    Args:
        source: the driver's source, only read.
        tests: as pytest takes them.
        boot_args: more arguments for the kernel.
        kernel_name: where.
        directory: for the build.

    Returns:
        pytest's exit status and all lines.
    """
    argv = [sys.executable, "-m", "pytest", "-x", "--tb=short", "-p", "no:cacheprovider", *tests]
    argv += ["--kernel", kernel_name, "-o", f"vm_modules={source}", "-o", f"vm_build={directory}"]
    argv += [f"--vm-boot={argument}" for argument in boot_args]
    # What another pytest has told its own children is not for this one.
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        argv, cwd=CHECKOUT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, text=True, errors="replace", check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines()


def control(kernel: str, mutants: Sequence[Mutant], directory: Path) -> Trial:
    """Run the tests of all mutants of one kernel with the driver as it is."""
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
        mutant: the bug.
        kernel: the kernel's name.
        directory: an empty one, for the copy of the source and the build.
    """
    start = time.monotonic()
    directory.mkdir(parents=True, exist_ok=True)
    make(mutant, CHECKOUT / "kernel", directory / "source")
    status, lines = run(directory / "source", [mutant.test], mutant.boot_args, kernel, directory)
    seconds = time.monotonic() - start
    return Trial.of(mutant.name, kernel, mutant.test, mutant.sign, status, lines, seconds)


def table(trials: Sequence[Trial]) -> Table:
    """Show what became of each."""
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
    """Write all that was said in a trial to a file, and say where."""
    directory.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", done.mutant).strip("-")
    path = directory / f"{name}.{done.kernel}.log"
    path.write_text("\n".join(done.lines) + "\n")
    return path


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose names have one of these words")
    parser.add_argument("--kernel", action="append", help="only there; may be repeated")
    parser.add_argument("--no-control", action="store_true", help="without the control")
    parser.add_argument("--jobs", type=int, default=2, help="how many VMs side by side")
    parser.add_argument("--list", action="store_true", help="list them, and run none")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the mutants that are asked for.

    Returns:
        0 if each was caught by the test that is named for it.
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
        console.print("no mutant is meant; --list lists them")
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
    """Run the control and the mutants, and say of each how it ended as soon as it has."""
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
