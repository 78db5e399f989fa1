"""The commands `ksmlab kernels`, which manage the kernels in the cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ksmlab.lab import Lab
from ksmlab.progress import Progress
from ksmlab.vm.kernel_build import estimate, say_seconds

if TYPE_CHECKING:
    from ksmlab.vm.kernels import Kernel

MEBIBYTE = 1 << 20
BLOCK = 512

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, fetch, build and remove the kernels that vm/kernels.toml describes.",
)

FileOption = Annotated[
    Path | None,
    typer.Option(
        "--kernels", help="The file that describes the kernels. Default: vm/kernels.toml."
    ),
]


def _lab(file: Path | None, names: list[str] | None = None) -> Lab:
    """Return the lab with the kernels of a file, after checking that it has these names.

    Raises:
        VmError: The file cannot be read, or does not have one of the names.
    """
    lab = Lab(Progress(), kernels=file, builds=False)
    for name in names or ():
        lab.store.spec(name)
    return lab


def size_on_disk(root: Path) -> int:
    """Return the size of a directory on disk, in bytes. A file with several hard links counts once."""
    inodes = {}
    for path in root.rglob("*"):
        facts = path.lstat()
        inodes[facts.st_ino] = facts.st_blocks * BLOCK
    return sum(inodes.values())


def state(lab: Lab, name: str) -> tuple[str, Kernel | None]:
    """Return the state of a kernel, such as "fetched" or "not built", and its cache entry if there is one."""
    spec = lab.store.spec(name)
    kernel = lab.store.find(name)
    if kernel is not None:
        return ("built" if spec.built else "fetched"), kernel
    if not spec.built:
        return "not fetched", None
    takes = say_seconds(estimate(spec, os.cpu_count() or 1))
    old = (
        "outdated: its options or the compiler changed" if lab.store.entries(name) else "not built"
    )
    return f"{old} (a build takes {takes})", None


@app.command("list")
def list_kernels(file: FileOption = None) -> None:
    """List the kernels, and show the release, the package version and the size of those in the cache."""
    lab = _lab(file)
    for name in lab.kernel_names:
        how, kernel = state(lab, name)
        taken = sum(size_on_disk(entry.root) for entry in lab.store.entries(name)) // MEBIBYTE
        known = f"{kernel.release:24} {kernel.version:22} {taken:5} MiB" if kernel else ""
        print(f"{name:12} {how:8} {known}".rstrip())


@app.command("tested")
def list_tested(
    *,
    options: Annotated[
        bool,
        typer.Option("--options", help="Print the names as options for pytest: --kernel NAME ..."),
    ] = False,
) -> None:
    """Print the names of the tested kernels that the host's archive has. The last is the newest, and the default."""
    names = _lab(None).tested_names()
    print(" ".join(f"--kernel {name}" for name in names) if options else "\n".join(names))


@app.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="The kernels to fetch. Default: each tested kernel that the host's archive has."
        ),
    ] = None,
    file: FileOption = None,
) -> None:
    """Fetch the newest revision of kernels of the distribution."""
    lab = _lab(file, names)
    for name in names or lab.tested_names():
        with lab.progress.step(f"{name}: fetching"):
            lab.store.fetch(name, lab.progress.note)


@app.command()
def build(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="The kernels to build. Default: all whose sources the host's archive has."
        ),
    ] = None,
    file: FileOption = None,
) -> None:
    """Build kernels from the newest revision of their sources, unless they are in the cache."""
    lab = _lab(file, names)
    for name in names or lab.store.available(lab.built_names, lab.progress.say):
        with lab.progress.step(f"{name}: building"):
            lab.store.build(name, lab.progress.say)


@app.command()
def rm(
    names: Annotated[
        list[str], typer.Argument(help="The kernels to remove. No running VM may use them.")
    ],
    file: FileOption = None,
    *,
    old: Annotated[
        bool, typer.Option("--old", help="Remove only entries that are no longer used.")
    ] = False,
) -> None:
    """Remove kernels from the cache."""
    lab = _lab(file, names)
    for name in names:
        removed = lab.store.remove(name, lab.progress.note, unused=old)
        print(f"{name}: {removed} {'entry' if removed == 1 else 'entries'} removed")
