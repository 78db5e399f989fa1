"""The command `ksmlab bench`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ksmlab import lab as lab_module
from ksmlab.bench import check as check_module
from ksmlab.bench import holds_host, host, latency_host
from ksmlab.bench.plan import ENGINES, HASH, IN_KERNEL, IN_KERNEL_PLAIN, TREE, Plan
from ksmlab.bench.report import Report
from ksmlab.bench.result import Guest, Results, Sample
from ksmlab.bench.runner import Wanted, measure_in
from ksmlab.bench.workloads import WORKLOADS
from ksmlab.progress import Progress
from ksmlab.vm import accel
from ksmlab.vm.errors import VmError
from ksmlab.vm.failures import cause

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ksmlab.bench.holds import Longest

OUT = lab_module.CHECKOUT / "build/bench"
#: The kernel of the stored baseline.
CHECK_KERNELS = ("debian-6.12",)
#: The default number of pages of a workload: 16 MiB.
SIZE = 4096
QUICK_SIZE = 1024
#: Pages of a workload of `--check`. The moment at which the goal is reached is known only to within a batch of 64
#: pages, so a workload must be much larger than that.
CHECK_SIZE = 2048
#: The median of three runs is checked, since the kernel allocates some memory only in the first run.
CHECK_RUNS = 3
#: The least number of steady passes. A few are enough where each pass does the same work.
CHECK_PASSES = 3
#: The workloads of `--check`: those that depend only on a seed, without threads that run at the same time.
CHECKED = (
    "all_equal",
    "each_twice",
    "unique_random",
    "common_prefix",
    "sparse",
    "near_duplicates",
)
#: Hash collisions of near_duplicates, instead of 200,000: enough to miss the target if the driver never forgets them.
QUICK_FAMILIES = 16_384
#: Pages of the dense memory in holds.py: two page tables.
CHECK_HELD_PAGES = 1024
FACTORS = (4, 16)


def bench(
    kernel: Annotated[
        list[str] | None,
        typer.Option(
            "--kernel",
            help="The kernel to measure on, from `ksmlab kernels list`. May be repeated. Default: each tested kernel "
            f"that the host's archive has; for --check and --holds {', '.join(CHECK_KERNELS)}; for --latency "
            f"{latency_host.KERNEL}.",
        ),
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            help=f"The workload to measure: {', '.join(WORKLOADS)}. May be repeated. "
            "Default: all; --check and --latency use some of them.",
        ),
    ] = None,
    index: Annotated[
        list[str] | None,
        typer.Option(
            "--index",
            help="The driver's index to measure: tree or hash. May be repeated. Default: both.",
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="How often to repeat each measurement.")
    ] = 5,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            min=512,
            help=f"The number of pages of a workload. Default: {SIZE}; fewer with --quick, --check and --latency.",
        ),
    ] = None,
    growth_runs: Annotated[
        int,
        typer.Option(
            "--growth-runs",
            min=0,
            help="The number of these runs that also measure 4 and 16 times the memory.",
        ),
    ] = 3,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The directory for results.json, results.md and index.html. Default: build/bench.",
        ),
    ] = None,
    *,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Run once, with less memory and without growth. The results are only a rough impression.",
        ),
    ] = False,
    counted: Annotated[
        bool,
        typer.Option(
            "--counted",
            help="Count instructions instead of time, so that the figures can be reproduced.",
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Count instructions, and fail if a workload needs over 5% more than the stored baseline.",
        ),
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="With --check: store the results as the baseline.")
    ] = False,
    latency: Annotated[
        bool,
        typer.Option(
            "--latency",
            help="Measure for how long the scanners disable preemption or interrupts, on a kernel built for this.",
        ),
    ] = False,
    holds: Annotated[
        bool,
        typer.Option(
            "--holds",
            help="Measure for how long the driver's threads hold ksm_lock. --latency includes this.",
        ),
    ] = False,
    render: Annotated[
        Path | None,
        typer.Option(
            "--render", help="Measure nothing; write the report of an earlier results.json."
        ),
    ] = None,
) -> None:
    """Compare this driver with in-kernel KSM, on the same memory, in the same boot."""
    console = Console(highlight=False)
    out = out or OUT
    if render is not None:
        finish(read_results(render), out, console)
        return
    lab = lab_module.Lab(Progress())
    if latency:
        known = latency_host.WORKLOADS
        what = latency_host.wanted(
            kernel or [latency_host.KERNEL],
            chosen(workload, known, known, "workload to trace"),
            size or QUICK_SIZE,
        )
        trace(lab, what, out, console)
    if latency or holds:
        hold(lab, CHECK_KERNELS if latency else tuple(kernel or CHECK_KERNELS), out, console)
        return
    workloads = chosen(workload, tuple(CHECKED if check else WORKLOADS), WORKLOADS, "workload")
    indexes = chosen(index, (TREE, HASH), (TREE, HASH), "index")
    if check:
        wanted = Wanted(
            kernels=tuple(kernel or CHECK_KERNELS),
            engines=indexes,
            workloads=workloads,
            npages=size or CHECK_SIZE,
            runs=CHECK_RUNS,
            passes=CHECK_PASSES,
            limit=False,
            families=QUICK_FAMILIES,
            held_pages=CHECK_HELD_PAGES,
            counted=True,
        )
        found: list[Longest] = []
        results = gather(lab, wanted, on_hold=found.append)
        check_module.check(results, wanted, console, update=update, holds=found)
        return
    wanted = Wanted(
        kernels=tuple(kernel or lab.tested_names()),
        engines=tuple(one for one in ENGINES if one in (IN_KERNEL, IN_KERNEL_PLAIN, *indexes)),
        workloads=workloads,
        npages=size or (QUICK_SIZE if quick else SIZE),
        runs=1 if quick else runs,
        factors=() if quick or not growth_runs else FACTORS,
        growth_runs=growth_runs,
        families=QUICK_FAMILIES if quick else Plan.families,
        counted=counted,
    )
    finish(gather(lab, wanted, out), out, console)


def chosen(
    given: list[str] | None,
    usual: tuple[str, ...],
    known: Collection[str],
    what: str,
) -> tuple[str, ...]:
    """Return the names that the user has given, or the usual ones if there are none.

    Args:
        given: The names on the command line.
        usual: The default.
        known: All valid names.
        what: The kind of thing that the names denote, for the message.

    Raises:
        VmError: A name is not valid.
    """
    unknown = [name for name in given or () if name not in known]
    if unknown:
        raise VmError(
            f"There is no {what} called {', '.join(unknown)}.",
            untouched="Nothing was measured.",
            hint=f"Use one of these: {', '.join(known)}.",
        )
    return tuple(given) if given else usual


def gather(
    lab: lab_module.Lab,
    wanted: Wanted,
    out: Path | None = None,
    on_hold: Callable[[Longest], None] = lambda _hold: None,
) -> Results:
    """Measure on each kernel, and show each sample when it is complete.

    Args:
        lab: The checkout.
        wanted: The requested measurements.
        out: The directory to write the results to after each sample, so that a failure does not lose the previous ones;
            None to write nothing.
        on_hold: Called with the longest hold of ksm_lock of each operation, if Wanted.held_pages is set.

    Raises:
        VmError: A VM failed.
    """
    how = accel.probe()
    lab.progress.say(how.why)
    results = host.describe(lab.checkout, command_line())
    samples: list[Sample] = []

    def keep(sample: Sample, guest: Guest) -> None:
        samples.append(sample)
        lab.progress.say(host.line(sample))
        if out is not None:
            Report(host.add(results, guest, samples)).save(out)

    for name in wanted.kernels:
        vm = measure_in(lab, name, wanted, how, keep, on_hold)
        results = host.add(results, vm, samples)
    return results


def trace(lab: lab_module.Lab, what: Wanted, out: Path, console: Console) -> None:
    """Trace on each kernel, show the longest sections, and write them to a file.

    Raises:
        VmError: A VM failed.
    """
    how = accel.probe()
    described = host.describe(lab.checkout, command_line())
    found = tuple(latency_host.measure(lab, name, what, how) for name in what.kernels)
    for one in found:
        console.print(latency_host.table(one).rich())
        console.print(latency_host.batch_table(one).rich())
    console.print(f"all results: {latency_host.write(found, described, out)}")


def hold(lab: lab_module.Lab, kernels: Sequence[str], out: Path, console: Console) -> None:
    """Measure the holds of ksm_lock on each kernel, show them, and write them to a file.

    Raises:
        VmError: A VM failed.
    """
    how = accel.probe()
    described = host.describe(lab.checkout, command_line())
    found = tuple(holds_host.measure(lab, name, how) for name in kernels)
    for one in found:
        console.print(holds_host.table(one.release, one.longest).rich())
    console.print(f"all results: {holds_host.write(found, described, out)}")


def command_line() -> str:
    """Return the command line of this process."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def read_results(path: Path) -> Results:
    """Read a results.json.

    Raises:
        VmError: The file cannot be read, or does not contain results.
    """
    try:
        return Results.read(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VmError(
            f"The results cannot be read from {path}: {cause(error)}.",
            untouched="No report was written.",
            hint="Use a results.json that this version of `ksmlab bench` has written.",
        ) from error


def finish(results: Results, out: Path, console: Console) -> None:
    """Write the report, and show the table of targets."""
    report = Report(results)
    page = report.write(out)
    for table in report.tables:
        if table.title.startswith("Targets"):
            console.print(table.rich())
    for note in report.notes:
        console.print(note, style="dim", markup=False)
    met = sum(verdict.met for verdict in report.verdicts)
    console.print(f"{met} of {len(report.verdicts)} targets are met; all figures: {page}")
