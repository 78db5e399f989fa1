"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from ksmlab.lab import QUICK_KERNEL

NEWEST = "the newest tested kernel that the host's archive has, from the cache if it is there."

#: The kernel of a command that shows something: an unmodified one of the distribution's.
StockOption = Annotated[
    str | None,
    typer.Option("--kernel", help=f"One of `ksmlab kernels list`. Default: {NEWEST}"),
]
#: The kernel of a command that is run again and again: the one that boots fastest.
QuickOption = Annotated[
    str | None,
    typer.Option(
        "--kernel",
        help=f"One of `ksmlab kernels list`. Default: {QUICK_KERNEL} if it is built, or else {NEWEST}",
    ),
]
