"""Check that the files of the driver call each other in one direction only.

The opening comment of kernel/ksm.h lists the files in layers, topmost first. A file may use only symbols of files that
are listed after it. The object files of a build show which symbols each file defines and uses.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from ksmlab.vm.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_LIST = re.compile(r"Layers, topmost first(?s:.*?)\n \*\n(?P<rows>(?: \*\t.*\n)+)")
_ROW = re.compile(r" \*\t(?P<files>\w+(?:, \w+)*)\t+\S")


def read_layers(header: str) -> list[str]:
    """Read the names of the files, without suffix, from the opening comment of ksm.h.

    Raises:
        BuildError: The comment has no such list.
    """
    found = _LIST.search(header)
    if not found:
        raise BuildError(
            "kernel/ksm.h does not list the layers of the driver.",
            hint='Its opening comment has one line for each layer, after "Layers, topmost first".',
        )
    return [
        name
        for row in found["rows"].splitlines()
        if (match := _ROW.match(row))
        for name in match["files"].split(", ")
    ]


def read_symbols(listing: str) -> tuple[set[str], set[str]]:
    """Read the output of nm: the global symbols that a file defines, and those that it uses."""
    defined, used = set(), set()
    for line in listing.splitlines():
        *_, kind, name = line.split()
        if kind == "U":
            used.add(name)
        elif kind.isupper():
            defined.add(name)
    return defined, used


def upward_calls(layers: Sequence[str], listings: Mapping[str, str]) -> list[str]:
    """Find uses of symbols of files that are listed earlier.

    Args:
        layers: The names of the files, topmost layer first.
        listings: The output of nm for each file.

    Returns:
        A message for each such use. If a file is missing from either argument, there are only messages about that.
    """
    symbols = {name: read_symbols(listing) for name, listing in listings.items()}
    owner = {symbol: name for name, (defined, _) in symbols.items() for symbol in defined}
    problems = [f"{name}.c is in no layer" for name in sorted(set(symbols) - set(layers))]
    problems += [f"layer {name} has no file" for name in layers if name not in symbols]
    if problems:
        return problems
    place = {name: number for number, name in enumerate(layers)}
    return [
        f"{name}.c uses {symbol} of {owner[symbol]}.c, which is listed before it"
        for name in layers
        for symbol in sorted(symbols[name][1] & set(owner))
        if place[owner[symbol]] < place[name]
    ]


def check_layers(header: Path, build: Path) -> None:
    """Check the objects of one build.

    Args:
        header: The path of kernel/ksm.h.
        build: The directory with the object files of the driver.

    Raises:
        BuildError: A file uses a symbol of a file that is listed before it.
    """
    listings = {
        source.stem: subprocess.run(
            ["nm", str(build / f"{source.stem}.o")], capture_output=True, text=True, check=True
        ).stdout
        for source in sorted(header.parent.glob("*.c"))
    }
    if problems := upward_calls(read_layers(header.read_text()), listings):
        raise BuildError(
            f"Violations of the layers that kernel/ksm.h lists: {len(problems)}.",
            untouched="The sources were only read.",
            hint="They are listed above. Move the function to a lower layer, or the call to a higher one.",
            log="\n".join(problems),
        )
