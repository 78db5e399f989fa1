"""Run pytest files inside a VM for each kernel, and tell one story of it.

Each VM's lines are shown as they come, with the kernel's name before them. A VM that is lost fails the test that was
running, by name, with the kernel's log.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ksmlab import lab as lab_module
from ksmlab.vm import accel
from ksmlab.vm.config import Deadlines, MachineConfig
from ksmlab.vm.errors import VmError
from ksmlab.vm.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ksmlab.lab import Lab
    from ksmlab.vm.accel import Accel
    from ksmlab.vm.build import BuiltModules
    from ksmlab.vm.kernels import Kernel

TEST_LINE = re.compile(
    r"^(?P<test>\S+\.py::.*?)(?: (?P<outcome>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b.*)?$"
)
CLOSING_LINE = re.compile(r"^=* ?(?P<counts>\d+ \w+(?:, \d+ \w+)*) in [\d.]+s.*$")
COLLECTED_LINE = re.compile(r"^collected (?P<all>\d+) items?(?:.* (?P<selected>\d+) selected)?")
COUNT = re.compile(r"(\d+) (\w+)")
# Stretched under emulation: one test may print nothing for this long, all of them may take that long.
TEST_SECONDS = 75
SESSION_SECONDS = 900
FAILED_STATUS = 1
TESTS_DIR = "tests/vm"
# The log of a test may be long, and the kernel must not hold back what the tests write to it.
BOOT_ARGS = ("log_buf_len=8M", "printk.devkmsg=on")


@dataclass
class Follower:
    """Follow what pytest prints: whole lines out, and which test is running.

    Attributes:
        show: Called with each line.
        running: The test that has begun and not ended, if any.
        counts: pytest's own counts, once it has closed.
        seen: The outcomes that went by, by name.
        expected: How many tests there are to run.
    """

    show: Callable[[str], None]
    running: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    expected: int = 0
    _line: str = ""

    def feed(self, piece: str) -> None:
        """Take the next piece of output."""
        *whole, self._line = (self._line + piece.replace("\r\n", "\n")).split("\n")
        for line in whole:
            # A carriage return begins the line anew, as on a terminal.
            self._whole(line.rsplit("\r", 1)[-1])
        if found := TEST_LINE.match(self._line):
            self.running = None if found["outcome"] else found["test"].strip()

    def close(self) -> None:
        """Show a last line that has no end."""
        if self._line:
            self.show(self._line)
            self._line = ""

    def counts_so_far(self) -> Counter[str]:
        """Count what went by before the VM was lost; the test that was running has failed."""
        counts = Counter({word: self.seen[word] for word in ("passed", "skipped")})
        counts["failed"] = self.seen["failed"] + self.seen["error"] + 1
        counts["not run"] = max(0, self.expected - counts.total())
        return counts

    def _whole(self, line: str) -> None:
        if found := TEST_LINE.match(line):
            self.running = None if found["outcome"] else found["test"].strip()
            if found["outcome"]:
                self.seen[found["outcome"].lower()] += 1
        elif found := COLLECTED_LINE.match(line):
            self.expected = int(found["selected"] or found["all"])
        elif found := CLOSING_LINE.match(line):
            self.counts = Counter(
                {word.rstrip("s"): int(number) for number, word in COUNT.findall(found["counts"])}
            )
        self.show(line)


@dataclass(frozen=True)
class Outcome:
    """How the tests on one kernel ended.

    Attributes:
        kernel: Its name.
        status: pytest's exit status, or 1 if it did not come to its end.
        counts: How many tests passed, failed, and so on.
        error: Why it did not come to its end, if so.
    """

    kernel: str
    status: int
    counts: Counter[str]
    error: VmError | None = None


def run_on(
    kernel: Kernel, built: BuiltModules, arguments: Sequence[str], how: Accel, lab: Lab, show: Callable[[str], None],
    started: Callable[[Machine], None], boot_args: Sequence[str] = (),
) -> Outcome:  # fmt: skip
    """Boot one kernel and run the tests in it.

    Args:
        kernel: What to boot.
        built: The modules for it.
        arguments: More arguments for pytest; the tests' directory, if they name no test.
        how: The accelerator.
        lab: Where the tests are.
        show: Called with each line.
        started: Called with the machine before it boots, so that another thread can end it.
        boot_args: More arguments for the kernel.
    """
    follower = Follower(show)
    session = Deadlines(session=SESSION_SECONDS)
    config = MachineConfig(cwd=lab.checkout, deadlines=session, boot_args=(*BOOT_ARGS, *boot_args))
    limits = (
        Deadlines(command=SESSION_SECONDS).under(how),
        Deadlines(command=TEST_SECONDS).under(how),
    )
    try:
        show("booting")
        machine = Machine(kernel, config, accel=how)
        started(machine)
        start = time.monotonic()
        with machine:
            show(f"booted in {time.monotonic() - start:.1f} s")
            paths = [] if any(TESTS_DIR in argument for argument in arguments) else [TESTS_DIR]
            done = machine.run(
                lab_module.guest_python("-m", "pytest", "-v", *arguments, *paths),
                env=lab_module.guest_environment(lab.checkout)
                | {lab_module.MODULE_DIR_VARIABLE: str(built.directory)},
                timeout=limits[0].command,
                idle_timeout=limits[1].command,
                on_output=follower.feed,
            )
    except VmError as error:
        follower.close()
        for line in str(error).splitlines():
            show(line)
        where = follower.running or "no test was running"
        show(f"FAILED {where} - {type(error).__name__}: {error.what}")
        return Outcome(kernel.name, FAILED_STATUS, follower.counts_so_far(), error)
    follower.close()
    return Outcome(kernel.name, done.status, follower.counts)


def closing_line(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Sum up, in the form in which pytest closes."""
    total: Counter[str] = sum((outcome.counts for outcome in outcomes), Counter())
    order = (
        "failed",
        "passed",
        "skipped",
        "deselected",
        "xfailed",
        "xpassed",
        "warning",
        "error",
        "not run",
    )
    words = [f"{total[word]} {word}" for word in order if total[word]] or ["no tests ran"]
    return f" {', '.join(words)} in {seconds:.2f}s ".center(80, "=")


def run_all(lab: Lab, names: Sequence[str], arguments: Sequence[str]) -> int:
    """Run the tests on several kernels, side by side if there is a CPU for each.

    Args:
        lab: Where everything is.
        names: The kernels.
        arguments: More arguments for pytest.

    Returns:
        0 if every test passed on every kernel.
    """
    start = time.monotonic()
    kernels = [(kernel, lab.build(kernel)) for kernel in map(lab.kernel, names)]
    how = accel.probe()
    lab.progress.say(how.why)
    width = max(map(len, names))
    printing = threading.Lock()
    outcomes: list[Outcome] = []
    machines: list[Machine] = []
    turn = threading.Semaphore(min(len(kernels), os.cpu_count() or 1))

    def leg(kernel: Kernel, built: BuiltModules) -> None:
        def show(line: str) -> None:
            with printing:
                print(f"{kernel.name:{width}} | {line}", flush=True)

        with turn:
            outcome = run_on(kernel, built, arguments, how, lab, show, machines.append)
        with printing:
            outcomes.append(outcome)

    threads = [
        threading.Thread(target=leg, args=pair, name=pair[0].name, daemon=True) for pair in kernels
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        # On Ctrl-C: the other threads' VMs must end, too.
        for machine in machines:
            with contextlib.suppress(OSError):
                machine.close()
    for outcome in sorted(outcomes, key=lambda each: each.kernel):
        verdict = "passed" if outcome.status == 0 else f"failed (status {outcome.status})"
        print(f"{outcome.kernel:{width}} : {verdict}: {dict(outcome.counts)}")
    print(closing_line(outcomes, time.monotonic() - start), flush=True)
    whole = len(outcomes) == len(kernels)
    return 0 if whole and all(outcome.status == 0 for outcome in outcomes) else FAILED_STATUS
