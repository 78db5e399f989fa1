"""The command `ksmlab picture`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ksmlab import lab as lab_module
from ksmlab.booting import booted
from ksmlab.options import StockOption  # noqa: TC001  (typer reads them)
from ksmlab.pictures.model import Picture
from ksmlab.pictures.plan import FEWEST_PAGES, MOST_PAGES, Plan
from ksmlab.pictures.render import svg
from ksmlab.progress import Progress
from ksmlab.vm.config import MachineConfig
from ksmlab.vm.errors import VmError
from ksmlab.vm.failures import cause

OUT = Path(lab_module.CHECKOUT, "build/picture/merge.svg")
SECONDS = 600.0


def picture(
    kernel: StockOption = None,
    pages: Annotated[
        int,
        typer.Option(
            "--pages", min=FEWEST_PAGES, max=MOST_PAGES, help="The number of pages to draw."
        ),
    ] = Plan.npages,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The SVG file to write. Default: build/picture/merge.svg."),
    ] = None,
    render: Annotated[
        Path | None,
        typer.Option(
            "--render", help="Boot no VM; draw the JSON file that an earlier run has stored."
        ),
    ] = None,
) -> None:
    """Draw the pages of a process before a merge, after it, and after two writes.

    Each page is a square. Squares of one colour are pages that share a page frame.
    """
    out = out or OUT
    made = stored(render) if render else photograph(kernel, pages, out.with_suffix(".json"))
    make_directory(out.parent)
    try:
        out.write_text(svg(made))
    except OSError as error:
        raise not_written(out, error) from None
    print(out)


def not_written(path: Path, error: OSError) -> VmError:
    """Return the error for a file or directory that cannot be written."""
    return VmError(
        f"{path} cannot be written: {cause(error)}.",
        untouched="No picture was drawn.",
        hint="Choose another file with --out.",
    )


def make_directory(path: Path) -> None:
    """Create a directory, unless it exists.

    Raises:
        VmError: The directory cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(path, error) from None


def stored(path: Path) -> Picture:
    """Read a stored picture.

    Raises:
        VmError: The file cannot be read, or does not contain a picture.
    """
    try:
        return Picture.read(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VmError(
            f"A picture cannot be read from {path}: {cause(error)}.",
            untouched="Nothing was drawn.",
            hint="`ksmlab picture` creates a new one.",
        ) from None


def photograph(kernel: str | None, pages: int, store: Path) -> Picture:
    """Boot a VM, merge pages in it, and store the state of the pages as JSON.

    Args:
        kernel: The name of the kernel; None for the stock kernel.
        pages: The number of pages.
        store: The JSON file to write.

    Returns:
        The picture.

    Raises:
        VmError: The VM or the program in the guest failed.
    """
    lab = lab_module.Lab(Progress())
    kernel = kernel or lab.stock_kernel()
    lab.store.spec(kernel)
    store = store.resolve()
    make_directory(store.parent)
    config = MachineConfig(cwd=lab.checkout, writable=(store.parent,))
    with booted(lab, kernel, module=True, config=config) as machine:
        # Keep the old file until a VM that can write a new one has booted.
        store.unlink(missing_ok=True)
        program = ("-m", "ksmlab.pictures.guest", str(store), "--pages", str(pages))
        with lab.progress.step(f"{kernel}: {pages} pages merge"):
            done = machine.run(
                lab_module.guest_python(*program),
                env=lab_module.guest_environment(lab.checkout),
                timeout=SECONDS,
            )
    if done.status:
        raise VmError(
            f"The program that merges the pages in the VM failed (status {done.status}).",
            untouched="Nothing was drawn, and the VM has been ended.",
            hint="The output of the program is above.",
            log=done.output,
        )
    command = "ksmlab picture" + (f" --pages {pages}" if pages != Plan.npages else "")
    made = stored(store).named(command=command, kernel=f"Linux {stored(store).kernel}")
    made.write(store)
    return made
