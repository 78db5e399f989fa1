"""The C clients compile, as C and as C++, against the driver's header and nothing else of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = sorted([*ROOT.glob("tests/clients/*.c"), *ROOT.glob("docs/how-to/programs/*.c")])
COMPILERS = {"c": ["gcc", "-x", "c"], "c++": ["g++", "-x", "c++"]}


@pytest.mark.parametrize("source", CLIENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("language", COMPILERS)
def test_client_compiles(language: str, source: Path, tmp_path: Path) -> None:
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-I", str(ROOT / "kernel/include/uapi")]
    binary = tmp_path / "client"
    subprocess.run([*COMPILERS[language], *flags, "-o", binary, source], check=True)
    assert binary.stat().st_size > 0


def test_there_are_clients() -> None:
    assert {source.stem for source in CLIENTS} >= {"ksm2009", "kvm_guests", "offer"}
