"""Write the memory of a kept VM to a file, for debuggers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ksmlab.vm.errors import VmError
from ksmlab.vm.failures import cause
from ksmlab.vm.path_checks import check_writable
from ksmlab.vm.ports import QMP, execute

if TYPE_CHECKING:
    from ksmlab.vm.keep import Kept

#: A dump has the size of the VM's memory.
DUMP_BYTES = 2 << 30
DUMP_SECONDS = 300.0


@dataclass(frozen=True)
class DumpFacts:
    """What a debugger needs to know about a dump, beside the dump itself.

    Attributes:
        kernel: The name of the kernel.
        why: What happened before the VM was kept.
        objects: Files with debug information, by module name.
        sections: For each module the addresses of its sections, by their names.
    """

    kernel: str
    why: str
    objects: dict[str, str]
    sections: dict[str, dict[str, str]]

    @classmethod
    def load(cls, dump: Path) -> Self:
        """Read the facts of a dump.

        Raises:
            VmError: `ksmlab vm dump` has not written that file.
        """
        try:
            return cls(**json.loads(facts_path(dump).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise VmError(
                f"{facts_path(dump)} cannot be read: {cause(error)}.",
                hint="Dumps are written by: ksmlab vm dump FILE",
            ) from error


def facts_path(dump: Path) -> Path:
    """Return the file beside a dump that has its facts."""
    return dump.with_name(f"{dump.name}.json")


def dump(kept: Kept, path: Path) -> None:
    """Write the memory of a kept VM to an ELF file, and its facts to another file beside it.

    The VM stands still meanwhile, and then goes on.

    Args:
        kept: The VM.
        path: The file; an old one is replaced.

    Raises:
        VmError: The file cannot be written, or the VM does not answer.
    """
    path = path.absolute()
    check_writable("directory of the dump", path.parent, DUMP_BYTES)
    execute(
        Path(kept.directory, f"{QMP}.sock"),
        "dump-guest-memory",
        {"paging": False, "protocol": f"file:{path}"},
        DUMP_SECONDS,
    )
    facts = DumpFacts(kept.kernel, kept.why, kept.objects, kept.sections)
    facts_path(path).write_text(json.dumps(asdict(facts), indent=1) + "\n")
