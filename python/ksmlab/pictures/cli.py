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

OUT = Path(lab_module.CHECKOUT, "build/picture/merge.svg")
SECONDS = 600.0


def picture(
    kernel: StockOption = None,
    pages: Annotated[
        int, typer.Option("--pages", min=FEWEST_PAGES, max=MOST_PAGES, help="Pages of the arena.")
    ] = Plan.npages,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where the SVG goes, if not build/picture/merge.svg."),
    ] = None,
    render: Annotated[
        Path | None,
        typer.Option("--render", help="Boot nothing; draw what an earlier run has stored (JSON)."),
    ] = None,
) -> None:
    """Draw an arena before it merges, merged, and after a write: a square for each page, coloured by shared frame."""
    out = out or OUT
    made = stored(render) if render else photograph(kernel, pages, out.with_suffix(".json"))
    make_directory(out.parent)
    try:
        out.write_text(svg(made))
    except OSError as error:
        raise not_written(out, error) from None
    print(out)


def not_written(path: Path, error: OSError) -> VmError:
    """Say that a file or directory cannot be written, in full."""
    return VmError(
        f"{path} cannot be written: {error.strerror}.",
        untouched="No picture was drawn.",
        hint="Give another file with --out.",
    )


def make_directory(path: Path) -> None:
    """Make a directory, unless it is there.

    Raises:
        VmError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(path, error) from None


def stored(path: Path) -> Picture:
    """Read a stored picture.

    Raises:
        VmError: it cannot be read.
    """
    try:
        return Picture.read(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VmError(
            f"{path} cannot be read as a picture: {error}.",
            untouched="Nothing was drawn.",
            hint="ksmlab picture makes a new one.",
        ) from None


def photograph(kernel: str | None, pages: int, store: Path) -> Picture:
    """Boot a VM, have the guest's half take a picture there, and store it as JSON.

    Args:
        kernel: what to boot; the stock kernel if None.
        pages: of the arena.
        store: where the JSON goes.

    Raises:
        VmError: the VM or the guest's half failed.
    """
    lab = lab_module.Lab(Progress())
    kernel = kernel or lab.stock_kernel()
    lab.store.spec(kernel)
    store = store.resolve()
    make_directory(store.parent)
    config = MachineConfig(cwd=lab.checkout, writable=(store.parent,))
    with booted(lab, kernel, module=True, config=config) as machine:
        # Not before there is a VM to take another one in.
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
            f"The picture was not taken (status {done.status}).",
            untouched="Nothing was drawn, and the VM has been ended.",
            hint="What the guest said is above.",
            log=done.output,
        )
    command = "ksmlab picture" + (f" --pages {pages}" if pages != Plan.npages else "")
    made = stored(store).named(command=command, kernel=f"Linux {stored(store).kernel}")
    made.write(store)
    return made
