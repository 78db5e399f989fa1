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

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ksmlab.bench.holds import Longest

OUT = lab_module.CHECKOUT / "build/bench"
#: The kernel that the baseline was counted on.
CHECK_KERNELS = ("debian-6.12",)
#: Pages at factor 1: 16 MiB.
SIZE = 4096
QUICK_SIZE = 1024
#: A batch of 64 that the goal lies in, and a look that comes after it, are to be little of it.
CHECK_SIZE = 2048
#: The median of so many: in the first, what the kernel keeps for the next time is not there yet.
CHECK_RUNS = 3
#: At the least, and each of them is as the last where nothing rests.
CHECK_PASSES = 3
#: What follows from a seed alone, and from nothing that runs beside it.
CHECKED = (
    "all_equal",
    "each_twice",
    "unique_random",
    "common_prefix",
    "sparse",
    "near_duplicates",
)
#: Hash collisions of near_duplicates, instead of 200,000: enough to miss the target if collisions are never forgotten.
QUICK_FAMILIES = 16_384
#: Pages of the dense memory of holds.py: two page tables.
CHECK_HELD_PAGES = 1024
FACTORS = (4, 16)


def bench(
    kernel: Annotated[
        list[str] | None,
        typer.Option(
            "--kernel",
            help="One of `ksmlab kernels list`; may be given again. Default: every tested kernel that the host's "
            f"archive has, or for --check {', '.join(CHECK_KERNELS)}.",
        ),
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option("--workload", help=f"One of {', '.join(WORKLOADS)}; may be given again."),
    ] = None,
    index: Annotated[
        list[str] | None,
        typer.Option(
            "--index", help="Which of our indexes, tree or hash; may be given again. All there are."
        ),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs of everything.")] = 5,
    size: Annotated[
        int | None,
        typer.Option("--size", min=512, help=f"Pages of a workload; {SIZE} if not given."),
    ] = None,
    growth_runs: Annotated[
        int,
        typer.Option(
            "--growth-runs", min=0, help="Runs of them that have 4 and 16 times the memory, too."
        ),
    ] = 3,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Where results.json, results.md and index.html go, if not build/bench."
        ),
    ] = None,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="One small run without growth: a look, no measurement.")
    ] = False,
    counted: Annotated[
        bool,
        typer.Option(
            "--counted", help="Let the VM count instructions: a figure is the same twice."
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Count instructions, and compare with the stored baseline."),
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="With --check: store what is measured as the baseline.")
    ] = False,
    latency: Annotated[
        bool,
        typer.Option(
            "--latency",
            help="Trace how long the scanners keep others from the CPU, on a kernel built for it.",
        ),
    ] = False,
    holds: Annotated[
        bool,
        typer.Option(
            "--holds", help="Measure for how long ksm_lock is held; --latency does it, too."
        ),
    ] = False,
    render: Annotated[
        Path | None,
        typer.Option("--render", help="Measure nothing; write the report of this results.json."),
    ] = None,
) -> None:
    """Measure this driver beside the kernel's own KSM, on the same memory, in one boot."""
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
    """Give what was asked for, or else the usual.

    Raises:
        VmError: Something of it is not known.
    """
    unknown = [name for name in given or () if name not in known]
    if unknown:
        raise VmError(
            f"There is no {what} called {', '.join(unknown)}.",
            untouched="Nothing was measured.",
            hint=f"There are: {', '.join(known)}.",
        )
    return tuple(given) if given else usual


def gather(
    lab: lab_module.Lab,
    wanted: Wanted,
    out: Path | None = None,
    on_hold: Callable[[Longest], None] = lambda _hold: None,
) -> Results:
    """Measure on each kernel, and show each sample as it comes.

    Args:
        lab: The checkout.
        wanted: What to measure.
        out: Where to write what there is after each sample, so that nothing of a long session is lost; nowhere if it
            is not given.
        on_hold: Called with each longest hold of ksm_lock, if Wanted.held_pages asks for them.

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
    """Trace on each kernel, show the longest sections, and write them down.

    Raises:
        VmError: A VM failed.
    """
    how = accel.probe()
    described = host.describe(lab.checkout, command_line())
    found = tuple(latency_host.measure(lab, name, what, how) for name in what.kernels)
    for one in found:
        console.print(latency_host.table(one).rich())
        console.print(latency_host.batch_table(one).rich())
    console.print(f"all of it: {latency_host.write(found, described, out)}")


def hold(lab: lab_module.Lab, kernels: Sequence[str], out: Path, console: Console) -> None:
    """Measure the holds of ksm_lock on each kernel, show them, and write them down.

    Raises:
        VmError: A VM failed.
    """
    how = accel.probe()
    described = host.describe(lab.checkout, command_line())
    found = tuple(holds_host.measure(lab, name, how) for name in kernels)
    for one in found:
        console.print(holds_host.table(one.release, one.longest).rich())
    console.print(f"all of it: {holds_host.write(found, described, out)}")


def command_line() -> str:
    """Give the command that this is."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def read_results(path: Path) -> Results:
    """Read a results.json.

    Raises:
        VmError: It is not one.
    """
    try:
        return Results.read(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VmError(
            f"{path} cannot be read as results: {error}",
            untouched="No report was written.",
            hint="Give a results.json that `ksmlab bench` of this version wrote.",
        ) from error


def finish(results: Results, out: Path, console: Console) -> None:
    """Write the report, and show the targets."""
    report = Report(results)
    page = report.write(out)
    for table in report.tables:
        if table.title.startswith("Targets"):
            console.print(table.rich())
    for note in report.notes:
        console.print(note, style="dim", markup=False)
    met = sum(verdict.met for verdict in report.verdicts)
    console.print(f"{met} of {len(report.verdicts)} targets are met; all figures: {page}")
