"""ksmlab kernels: the kernels of vm/kernels.toml, and what of them is in the cache."""

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
    no_args_is_help=True, rich_markup_mode=None, help="The kernels of vm/kernels.toml."
)

FileOption = Annotated[
    Path | None,
    typer.Option("--kernels", help="Another project's kernels.toml, instead of vm/kernels.toml."),
]


def _lab(file: Path | None, names: list[str] | None = None) -> Lab:
    """Give the lab, with the kernels of a file.

    Raises:
        VmError: The file cannot be read, or has none of one of these names.
    """
    lab = Lab(Progress(), kernels=file, builds=False)
    for name in names or ():
        lab.store.spec(name)
    return lab


def size_on_disk(root: Path) -> int:
    """Give the bytes that a directory takes on disk; a file with several names counts once."""
    inodes = {}
    for path in root.rglob("*"):
        facts = path.lstat()
        inodes[facts.st_ino] = facts.st_blocks * BLOCK
    return sum(inodes.values())


def state(lab: Lab, name: str) -> tuple[str, Kernel | None]:
    """Say how a kernel is: fetched, built, or what it takes to have it; with the entry that is in use, if any."""
    spec = lab.store.spec(name)
    kernel = lab.store.find(name)
    if kernel is not None:
        return ("built" if spec.built else "fetched"), kernel
    if not spec.built:
        return "not here", None
    takes = say_seconds(estimate(spec, os.cpu_count() or 1))
    old = "of other fragments or another compiler" if lab.store.entries(name) else "not here"
    return f"{old} (to build: {takes})", None


@app.command("list")
def list_kernels(file: FileOption = None) -> None:
    """List the kernels: which of them are here, their release, and what they take on disk."""
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
        bool, typer.Option("--options", help="Print options for pytest: --kernel NAME ...")
    ] = False,
) -> None:
    """Print the tested kernels that the host's archive has; the last is the newest, and the default."""
    names = _lab(None).tested_names()
    print(" ".join(f"--kernel {name}" for name in names) if options else "\n".join(names))


@app.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Default: every tested kernel that the host's archive has."),
    ] = None,
    file: FileOption = None,
) -> None:
    """Fetch the newest revision of the distribution's own kernels."""
    lab = _lab(file, names)
    for name in names or lab.tested_names():
        with lab.progress.step(f"{name}: fetching"):
            lab.store.fetch(name, lab.progress.note)


@app.command()
def build(
    names: Annotated[
        list[str] | None, typer.Argument(help="Default: all whose sources the host's archive has.")
    ] = None,
    file: FileOption = None,
) -> None:
    """Build kernels of the newest revision of their sources. What is here already is not built again."""
    lab = _lab(file, names)
    for name in names or lab.store.available(lab.built_names, lab.progress.say):
        with lab.progress.step(f"{name}: building"):
            lab.store.build(name, lab.progress.say)


@app.command()
def rm(
    names: Annotated[list[str], typer.Argument(help="Kernels that no VM runs now.")],
    file: FileOption = None,
    *,
    old: Annotated[
        bool, typer.Option("--old", help="Only entries that are no longer used.")
    ] = False,
) -> None:
    """Remove kernels from the cache."""
    lab = _lab(file, names)
    for name in names:
        removed = lab.store.remove(name, lab.progress.note, unused=old)
        print(f"{name}: {removed} {'entry' if removed == 1 else 'entries'} removed")
