"""Examine the driver with drgn: in the running kernel, or in a dump of a VM's memory.

drgn reads C objects of the kernel from Python. It needs the debug information of their types. Distributions put that of
their kernels into large packages. But `make build` compiles the driver with debug information, which describes
the variables of the driver and all types that it uses, also those of the kernel. So this module loads nothing else.

    from ksmlab import debugger
    driver = debugger.live("build/debian-6.1/ksm.ko")
    print(driver["ksm_counters"])
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING

import drgn
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.xarray import xa_for_each

from ksmlab.vm.dump import DumpFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MODULE = "ksm"
SYSFS = Path("/sys/module") / MODULE
#: A note with the build ID of the loaded module: 16 bytes of header, and the ID.
BUILD_ID = SYSFS / "notes/.note.gnu.build-id"
NOTE_HEADER_BYTES = 16
#: What the kernel notes for programs that read dumps (kernel/crash_core.c, kernel/vmcore_info.c): lines KEY=VALUE.
VMCOREINFO = re.compile(rb"OSRELEASE=\d[^\n\0]*\n(?:[^=\n\0]+=[^\n\0]*\n)+")
PAGE_TABLE = b"SYMBOL(swapper_pg_dir)="


class DebugError(Exception):
    """The driver cannot be examined; the text says why."""


def live(module: Path | str) -> drgn.Program:
    """Examine the driver in the running kernel.

    Args:
        module: The .ko file that was loaded.

    Raises:
        DebugError: The driver is not loaded, or `module` is another build of it.
    """
    sections = {path.name: int(path.read_text(), 16) for path in (SYSFS / "sections").glob("[.]*")}
    build_id = BUILD_ID.read_bytes()[NOTE_HEADER_BYTES:] if sections else None
    program = drgn.Program()
    program.set_kernel()
    _load(program, module, sections, build_id)
    return program


def dumped(path: Path | str) -> drgn.Program:
    """Examine the driver in a dump that `ksmlab vm dump` wrote.

    Args:
        path: The dump.

    Raises:
        DebugError: The dump does not show where the kernel or the driver is.
    """
    path = Path(path)
    facts = DumpFacts.load(path)
    if MODULE not in facts.objects:
        raise DebugError(f"{path}: the driver was not one of the modules of this VM.")
    program = drgn.Program(vmcoreinfo=find_vmcoreinfo(path))
    program.set_core_dump(path)
    sections = facts.sections.get(MODULE, {})
    _load(program, facts.objects[MODULE], {name: int(at, 16) for name, at in sections.items()})
    return program


def find_vmcoreinfo(path: Path) -> bytes:
    """Find the kernel's VMCOREINFO in a dump, which says where its page tables are.

    Raises:
        DebugError: The kernel was built without it (CONFIG_CRASH_CORE).
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        for found in VMCOREINFO.finditer(memory):
            if PAGE_TABLE in found[0]:
                return found[0]
    raise DebugError(f"{path}: no VMCOREINFO. The kernel was built without CONFIG_CRASH_CORE.")


def _load(
    program: drgn.Program,
    module: Path | str,
    sections: Mapping[str, int],
    build_id: bytes | None = None,
) -> None:
    if ".text" not in sections:
        raise DebugError("It is not known where the driver was loaded.")
    found = program.relocatable_module(MODULE, sections[".text"], create=True)
    for name, address in sections.items():
        found.section_addresses[name] = address
    found.build_id = build_id
    found.try_file(module, force=build_id is None)
    if found.debug_file_status != drgn.ModuleFileStatus.HAVE:
        raise DebugError(f"{module} has no debug information, or is not what was loaded.")


def regions(program: drgn.Program) -> Iterator[drgn.Object]:
    """Yield each `struct ksm_region *`, in the order of registration."""
    head = program["ksm_regions"].address_of_()
    yield from list_for_each_entry("struct ksm_region", head, "in_scan")


def items(region: drgn.Object) -> Iterator[drgn.Object]:
    """Yield each `struct ksm_item *` of a region, also of pages that were never scanned."""
    program = region.prog_
    entry_size = program["ksm_index_ops"].entry_size.value_()
    size = drgn.offsetof(program.type("struct ksm_item"), "entry") + entry_size
    for _, entry in xa_for_each(region.chunks.address_of_()):
        chunk = drgn.cast("struct ksm_chunk *", entry)
        first = (max(region.start.value_(), chunk.start.value_()) - chunk.start.value_()) >> 12
        end = (region.end.value_() - chunk.start.value_()) >> 12
        for number in range(first, min(end, 512)):
            yield drgn.Object(program, "struct ksm_item *", chunk.items.value_() + number * size)
