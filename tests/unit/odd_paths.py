"""Directories whose names would do harm in a shell, in make, or in QEMU."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

#: Each would run `touch pwned` in a shell that got it unquoted, or mean something to make, QEMU or the kernel.
ODD = [*";&()'=, \"$`\\*?[#:%@\n\tü", "$(touch pwned)", "`touch pwned`"]
#: What scripts/tools-support-relr.sh and tools/scripts/Makefile.include of a kernel do with its environment.
KBUILD_SHELL = """\t@tmp=$$(mktemp); trap "rm -f $$tmp.o $$tmp" EXIT; cd $(PWD); echo $(KCFLAGS) $(O); env
"""


def odd_environment(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Work in a directory with an odd name, which is also in each variable that could reach a shell."""
    monkeypatch.chdir(directory)
    for key in (
        "TMPDIR",
        "PWD",
        "OLDPWD",
        "KCFLAGS",
        "O",
        "KBUILD_OUTPUT",
        "MAKEFLAGS",
        "XDG_RUNTIME_DIR",
    ):
        monkeypatch.setenv(key, str(directory))
    monkeypatch.setattr(tempfile, "tempdir", None)


def named(directory: Path, odd: str) -> Path:
    """Make a directory with an odd name."""
    made = directory / (f"x{odd}touch pwned{odd}y" if len(odd) == 1 else f"x{odd}y")
    made.mkdir()
    return made
