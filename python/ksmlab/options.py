"""Command-line options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from ksmlab.lab import QUICK_KERNEL

NEWEST = "the newest tested kernel that is in the cache or the host's archive."

#: The kernel of a command that demonstrates something: an unmodified kernel of the distribution.
StockOption = Annotated[
    str | None,
    typer.Option(
        "--kernel",
        help=f"The kernel to boot, from `ksmlab kernels list`. Default: {NEWEST}",
    ),
]
#: The kernel of a command that is run often: the kernel that boots fastest.
QuickOption = Annotated[
    str | None,
    typer.Option(
        "--kernel",
        help=f"The kernel to boot, from `ksmlab kernels list`. Default: {QUICK_KERNEL} if it is built, "
        f"otherwise {NEWEST}",
    ),
]
