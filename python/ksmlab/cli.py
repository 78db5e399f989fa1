"""The ksmlab command."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from ksmlab import commits, kernels_cli, lint
from ksmlab import doctor as doctor_module
from ksmlab import lab as lab_module
from ksmlab.bench import cli as bench_cli
from ksmlab.booting import booted
from ksmlab.demo import page as demo_page
from ksmlab.lessons import cli as lessons_cli
from ksmlab.options import QuickOption, StockOption  # noqa: TC001  (typer reads them)
from ksmlab.pictures import cli as picture_cli
from ksmlab.progress import Progress
from ksmlab.vm import accel, keep
from ksmlab.vm.attach import attach
from ksmlab.vm.config import Deadlines, MachineConfig
from ksmlab.vm.dump import dump
from ksmlab.vm.errors import VmError
from ksmlab.vm.interact import interact
from ksmlab.vm.path_checks import storage_errors

# The exit status if a VM or a command could not be run to its end. Other tools that run commands, such as docker, use
# the same status.
HARNESS_FAILED = 125
HINT = (
    "The driver is loaded. Try:  cd /sys/kernel/mm/ksm; head *; echo 1 > run     or:  python -m ksmlab.demo",
    "Ctrl-D ends the VM; Ctrl-] ends it even if it hangs. The host's files are read-only here; you can write to /tmp.",
)
DEMO_SECONDS = 900

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Build the /dev/ksm driver, load it in a VM, and check that it merges pages.",
)  # fmt: skip
vm_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Run commands in a VM, and use kept VMs."
)
app.add_typer(vm_app, name="vm")
app.add_typer(kernels_cli.app, name="kernels")
app.add_typer(lessons_cli.app, name="lessons")
app.command("lesson")(lessons_cli.lesson)
app.command("exercise")(lessons_cli.exercise)
app.command("bench")(bench_cli.bench)
app.command("picture")(picture_cli.picture)

ModuleOption = Annotated[
    bool, typer.Option("--module/--no-module", help="Whether to build and load the driver first.")
]


def show_error(error: VmError) -> None:
    """Print what failed, what was not changed, and what to do next."""
    console = Console(stderr=True, highlight=False)
    if error.log:
        console.print(error.log.rstrip(), markup=False, style="dim", soft_wrap=True)
    console.print(f"ksmlab: {error.what}", markup=False, style="bold red", soft_wrap=True)
    for line in (error.untouched, error.hint):
        if line:
            console.print(line, markup=False, soft_wrap=True)


def terminal_size() -> tuple[int, int]:
    """Return the columns and rows of the user's terminal."""
    size = shutil.get_terminal_size((120, 40))
    return size.columns, size.lines


def write_out(piece: str) -> None:
    """Write a piece of a guest's output to standard output, without buffering."""
    sys.stdout.write(piece)
    sys.stdout.flush()


@app.command()
def demo(
    kernel: StockOption = None,
) -> None:
    """Merge pages of three processes in a VM, and check the result by page-frame numbers."""
    lab = lab_module.Lab(Progress())
    kernel = kernel or lab.stock_kernel()
    record = lab.checkout / "build/demo" / demo_page.RECORD_NAME
    record.parent.mkdir(parents=True, exist_ok=True)
    config = MachineConfig(cwd=lab.checkout, writable=(record.parent,))
    with booted(lab, kernel, module=True, config=config) as machine:
        # Keep the old record until a VM that can write a new one has booted.
        record.unlink(missing_ok=True)
        done = machine.run(
            lab_module.guest_python("-m", "ksmlab.demo", "--record", str(record)),
            env=lab_module.guest_environment(lab.checkout, colour=sys.stdout.isatty()),
            timeout=DEMO_SECONDS,
            on_output=write_out,
            size=terminal_size(),
        )
    page = demo_page.finish(record, f"ksmlab demo --kernel {kernel}", kernel)
    if page is not None:
        here = page.relative_to(Path.cwd()) if page.is_relative_to(Path.cwd()) else page
        print(f"Frames, counters, events: {here}")
    raise typer.Exit(done.status)


@app.command()
def shell(kernel: QuickOption = None, *, module: ModuleOption = True) -> None:
    """Open an interactive shell in a VM with the driver loaded."""
    lab = lab_module.Lab(Progress(), builds=module)
    # An interactive session has no time limit.
    config = MachineConfig(cwd=lab.checkout, deadlines=Deadlines(session=float("inf")))
    with booted(lab, kernel, module=module, config=config) as machine:
        status = interact(
            machine, lab_module.shell_script(HINT if module else HINT[1:], lab.checkout)
        )
    raise typer.Exit(status)


@app.command()
def build(
    kernel: Annotated[
        str | None, typer.Option("--kernel", help="Build for this kernel only.")
    ] = None,
    kdir: Annotated[
        Path | None, typer.Option("--kdir", help="Build for this kernel build directory instead.")
    ] = None,
) -> None:
    """Build the modules. By default, build for each tested kernel that the host's archive has."""
    lab = lab_module.Lab(Progress())
    if kdir is not None:
        builds = [lab.build_for(kdir)]
    else:
        builds = [
            lab.build(lab.kernel(name)) for name in ([kernel] if kernel else lab.tested_names())
        ]
    for built in builds:
        for path in built.modules:
            print(path)


@app.command()
def doctor(
    *,
    install: Annotated[
        bool, typer.Option("--install", help="Install the missing packages, as root or with sudo.")
    ] = False,
) -> None:
    """List the programs and libraries that this host lacks, and the command that installs them."""
    print(accel.probe().why)
    raise typer.Exit(doctor_module.main(["--install"] if install else []))


@vm_app.command("run", context_settings={"ignore_unknown_options": True})
def vm_run(
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after --.")],
    kernel: QuickOption = None,
    *,
    module: ModuleOption = True,
    memory: Annotated[
        str | None,
        typer.Option(
            help="The VM's memory in QEMU's notation, such as 2G. Default: as much as the kernel needs."
        ),
    ] = None,
    cpus: Annotated[int, typer.Option(help="The number of virtual CPUs.")] = 2,
    timeout: Annotated[
        float, typer.Option(help="The most seconds that the command may take.")
    ] = 600,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print the kernel's log after the command has ended.")
    ] = False,
) -> None:
    """Run a command in a VM, as root.

    Print the command's output, and exit with its status, or with status 125 if it could not be run to its end.
    """
    lab = lab_module.Lab(Progress(), builds=module)
    config = MachineConfig(cpus=cpus, memory=memory, cwd=Path.cwd())
    with booted(lab, kernel, module=module, config=config) as machine:
        done = machine.run(command, timeout=timeout, on_output=write_out, size=terminal_size())
        if verbose:
            lab.progress.say("\n".join(machine.log))
    raise typer.Exit(done.status)


NameArgument = Annotated[
    str | None,
    typer.Argument(
        help="The name of the VM, as printed by `ksmlab vm kept`. Default: the newest kept VM."
    ),
]


@vm_app.command("attach")
def vm_attach(name: NameArgument = None) -> None:
    """Open a shell in a VM that `pytest --vm-keep` has kept. Ctrl-] leaves the shell; the VM keeps running."""
    made = keep.find(name)
    print(
        f"{made.name} ({made.kernel}): {made.why}. Ctrl-] leaves the shell; the VM keeps running."
    )
    print(f"to debug its kernel: {made.gdb_command}\nto end the VM: ksmlab vm end {made.name}")
    attach(made)


@vm_app.command("dump")
def vm_dump(
    file: Annotated[Path, typer.Argument(help="An ELF file, as large as the VM's memory.")],
    name: NameArgument = None,
) -> None:
    """Write the memory of a VM that is kept to a file, for drgn."""
    made = keep.find(name)
    dump(made, file)
    print(f"{file} is the memory of {made.name} ({made.kernel}): {made.why}")


@vm_app.command("kept")
def vm_kept() -> None:
    """List the VMs that `pytest --vm-keep` has kept."""
    for made in keep.kept():
        print(f"{made.name}  {made.kernel}  {made.why}")


@vm_app.command("end")
def vm_end(name: NameArgument = None) -> None:
    """End a kept VM."""
    made = keep.find(name)
    made.end()
    print(f"{made.name} has ended")


@app.command("lint-kernel")
def lint_kernel() -> None:
    """Check the driver's sources with checkpatch, gcc W=1 and sparse, and fail if any of them reports something."""
    lint.lint_kernel(lab_module.Lab(Progress()))


@app.command("lint-commits")
def lint_commits() -> None:
    """Check that each commit has a subject `area: imperative summary` of at most 72 characters, and a body."""
    commits.lint_commits(lab_module.Lab(Progress()).checkout)


def main() -> NoReturn:
    """Run the command line, and report expected failures as a message instead of a traceback."""
    # Exit by an exception on SIGTERM, so that the VM is ended, and the terminal and its cursor are restored.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with storage_errors():
            app(standalone_mode=True)
    except VmError as error:
        show_error(error)
        sys.exit(HARNESS_FAILED)
    sys.exit(0)
