"""Put source lines beside the addresses of a kernel report: `ksm_visit+0x1a/0x40 [ksm]` becomes a file and a line.

Modules are looked up in the .ko files that were built, the kernel itself in a vmlinux if there is one with debug
information. binutils does the work; what it does not know stays as the kernel wrote it.
"""

from __future__ import annotations

import re
import subprocess
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

ADDRESS = re.compile(
    r"(?P<symbol>[A-Za-z_][\w.]*)\+0x(?P<offset>[0-9a-f]+)/0x[0-9a-f]+(?: \[(?P<module>\w+)[^\]]*\])?"
)
SYMBOL = re.compile(
    r"^(?P<value>[0-9a-f]+) .{7} (?P<section>\S+)\t[0-9a-f]+ +(?:\.hidden )?(?P<name>\S+)$"
)
TOOL_SECONDS = 60
#: The name under which the kernel's own file stands among the modules' ones.
VMLINUX = "vmlinux"


def decode(lines: Iterable[str], objects: Mapping[str, Path]) -> list[str]:
    """Add the source line to each line that names an address in one of `objects`.

    Args:
        lines: A kernel report.
        objects: Files with debug information by module name; VMLINUX for the kernel itself.
    """
    decoded = []
    for line in lines:
        found = ADDRESS.search(line)
        path = objects.get(found["module"] or VMLINUX) if found else None
        place = None
        if found is not None and path is not None:
            place = source_line(path, found["symbol"], int(found["offset"], 16))
        decoded.append(f"{line}  ({place})" if place else line)
    return decoded


def source_line(path: Path, symbol: str, offset: int) -> str | None:
    """Give "file.c:12", or "header.h:3 in file.c:12", for a place in a function, None if it is not known.

    Args:
        path: An object file with debug information.
        symbol: The function's name.
        offset: Bytes from its begin.
    """
    known = _symbols(path).get(symbol)
    if known is None:
        return None
    section, value = known
    # In a module, which is linked when it is loaded, a symbol's value counts from the begin of its section.
    inside = ["-j", section] if path.suffix == ".ko" else []
    said = _run(["addr2line", "-e", str(path), "-i", "-s", *inside, hex(value + offset)])
    # An inlined function comes first, then where it was inlined.
    places = [line.split(" (discriminator")[0] for line in said.splitlines()]
    return " in ".join(place for place in places if not place.endswith(("?", ":0"))) or None


@lru_cache(maxsize=32)
def _symbols(path: Path) -> dict[str, tuple[str, int]]:
    found = map(SYMBOL.match, _run(["objdump", "-t", str(path)]).splitlines())
    return {each["name"]: (each["section"], int(each["value"], 16)) for each in found if each}


def _run(argv: list[str]) -> str:
    """Give what a tool prints; nothing if it is not there or does not know the file."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=TOOL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
