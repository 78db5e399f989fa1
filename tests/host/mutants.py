"""Deliberate bugs: edits of the driver's source, and the VM tests that must catch each.

A mutant is built from a copy of kernel/, so the checkout stays as it is.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """One place in one file.

    Attributes:
        file: the file's name in kernel/.
        old: what stands there, exactly once.
        new: what the mutant has in its place.
    """

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A bug.

    Attributes:
        name: for people.
        edits: what makes it.
        tests: where it must be caught, as pytest arguments.
        boot_args: kernel arguments that make its effect certain.
        sign: what the tests' output must have in it: the failure that is meant, and no other.
    """

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    sign: str
    boot_args: tuple[str, ...] = ()


MUTANTS = (
    # A guest goes on with the old frame. Freed frames are zeroed, so it reads zeros at once.
    Mutant(
        name="secondary MMUs are not told",
        edits=(
            Edit("pte.c", "mmu_notifier_invalidate_range_start(range);", ""),
            Edit("pte.c", "mmu_notifier_invalidate_range_end(range);", ""),
            Edit("pte.c", "mmu_notifier_change_pte(mm, addr, pte);", ""),
            Edit("pte.c", "*orig = ptep_clear_flush_notify(", "*orig = ptep_clear_flush("),
        ),
        tests=("tests/vm/test_kvm_guests.py",),
        sign="WRONG",
        boot_args=("init_on_free=1",),
    ),
    # A device writes to a page that nobody maps any more; 6.12 pins such pages, and the rule for
    # exclusive pages catches that, so there a pipe is what finds out.
    Mutant(
        name="references are not counted",
        edits=(Edit("pte.c", "page_ref_count(page) != expected", "false"),),
        tests=("tests/vm/test_rule_references.py",),
        sign="FAILED tests/vm/test_rule_references.py::",
    ),
)


def make(mutant: Mutant, source: Path, target: Path) -> None:
    """Copy the driver's source and put the bug in.

    Args:
        mutant: the bug.
        source: kernel/ of the checkout.
        target: where the copy goes.

    Raises:
        ValueError: an edit does not fit the source any more.
    """
    shutil.copytree(source, target)
    for edit in mutant.edits:
        path = target / edit.file
        text = path.read_text()
        if text.count(edit.old) != 1:
            raise ValueError(
                f"mutant {mutant.name!r}: {edit.old!r} stands {text.count(edit.old)} times in "
                f"{edit.file}, not once. Next: bring tests/host/mutants.py up to date"
            )
        path.write_text(text.replace(edit.old, edit.new))
