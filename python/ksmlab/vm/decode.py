"""Add source lines to the addresses in a kernel report, such as `ksm_merge+0x1a/0x40 [ksm]`.

Addresses in modules are looked up in the .ko files that were built, and addresses in the kernel itself in a vmlinux
with debug information, if there is one. binutils does the lookup; unknown addresses are left unchanged.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

ADDRESS = re.compile(
    r"(?P<symbol>[A-Za-z_][\w.]*)\+0x(?P<offset>[0-9a-f]+)/0x[0-9a-f]+(?: \[(?P<module>\w+)[^\]]*\])?"
)
SYMBOL = re.compile(
    r"^(?P<value>[0-9a-f]+) .{7} (?P<section>\S+)\t[0-9a-f]+ +(?:\.hidden )?(?P<name>\S+)$"
)
TOOL_SECONDS = 60
#: The key of the kernel's own file in a dictionary of files by module name.
VMLINUX = "vmlinux"


@dataclass(frozen=True)
class Section:
    """A section of an object file, in which addresses are looked up.

    Attributes:
        path: An object file with debug information.
        name: The section to which addresses are relative; None for the kernel itself, whose addresses are absolute.
    """

    path: Path
    name: str | None


def decode(lines: Iterable[str], objects: Mapping[str, Path]) -> list[str]:
    """Append the source line to each line of a report that has an address in one of `objects`.

    Args:
        lines: The lines of a kernel report.
        objects: Files with debug information, by module name; the key of the kernel itself is VMLINUX.
    """
    found = [(line, _look_up(line, objects)) for line in lines]
    wanted: dict[Section, set[int]] = {}
    for _, known in found:
        if known is not None:
            section, address = known
            wanted.setdefault(section, set()).add(address)
    places = {
        (section, address): place
        for section, addresses in wanted.items()
        for address, place in source_lines(section, sorted(addresses)).items()
    }
    return [
        f"{line}  ({places[known]})" if known is not None and places.get(known) else line
        for line, known in found
    ]


def source_lines(section: Section, addresses: Sequence[int]) -> dict[int, str]:
    """Return "file.c:12", or "header.h:3 in file.c:12", for each known address.

    addr2line is run once for all addresses, since it reads the whole file, which takes seconds in a VM.
    """
    inside = [] if section.name is None else ["-j", section.name]
    argv = ["addr2line", "-e", str(section.path), "-i", "-s", "-a", *inside, *map(hex, addresses)]
    places: dict[int, list[str]] = {}
    here: list[str] = []
    for line in _run(argv).splitlines():
        if line.startswith("0x"):
            here = places.setdefault(int(line, 16), [])
        elif not (place := line.split(" (discriminator")[0]).endswith(("?", ":0")):
            # addr2line prints the line of an inlined function first, and then the line of the call.
            here.append(place)
    return {address: " in ".join(place) for address, place in places.items() if place}


def _look_up(line: str, objects: Mapping[str, Path]) -> tuple[Section, int] | None:
    """Return the section and the address that a line names, or None if it names no known address."""
    found = ADDRESS.search(line)
    path = objects.get(found["module"] or VMLINUX) if found else None
    known = _symbols(path).get(found["symbol"]) if found and path else None
    if found is None or path is None or known is None:
        return None
    section, value = known
    # A module is linked when it is loaded, so the values of its symbols are relative to their sections.
    name = section if path.suffix == ".ko" else None
    return Section(path, name), value + int(found["offset"], 16)


@lru_cache(maxsize=32)
def _symbols(path: Path) -> dict[str, tuple[str, int]]:
    found = map(SYMBOL.match, _run(["objdump", "-t", str(path)]).splitlines())
    return {each["name"]: (each["section"], int(each["value"], 16)) for each in found if each}


def _run(argv: list[str]) -> str:
    """Return the output of a tool; an empty string if the tool is not installed or hangs."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=TOOL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
