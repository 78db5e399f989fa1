"""Addresses of a kernel report become source lines, by the tools that know the file."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from ksmlab.vm import decode as decode_module
from ksmlab.vm.decode import VMLINUX, decode
from ksmlab.vm.keep import Kept

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """\
int other(int);
__attribute__((section(".text.unlikely"))) int rare(int number)
{
\treturn other(number);
}
int usual(int number)
{
\treturn other(number) + 1;
}
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object file that is linked as little as a module is."""
    directory = tmp_path_factory.mktemp("decode")
    (directory / "some.c").write_text(SOURCE)
    subprocess.run(["gcc", "-g", "-O0", "-c", "some.c", "-o", "some.ko"], cwd=directory, check=True)
    return directory / "some.ko"


def test_a_line_in_each_section(module: Path) -> None:
    lines = [" usual+0x4/0x20 [some]", "[ 1.2] ? rare+0x4/0x20 [some abcdef]"]
    decoded = decode(lines, {"some": module})
    assert decoded == [f"{lines[0]}  (some.c:7)", f"{lines[1]}  (some.c:3)"]


def test_the_kernels_own_frames_are_looked_up_in_one_go(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = module.with_name("vmlinux")
    subprocess.run(["gcc", "-shared", "-nostdlib", "-o", linked, "-x", "none", module], check=True)
    ran: list[str] = []
    run = decode_module._run

    def count(argv: list[str]) -> str:
        ran.append(argv[0])
        return run(argv)

    monkeypatch.setattr(decode_module, "_run", count)
    lines = [f" usual+{offset:#x}/0x20" for offset in range(8)]
    decoded = decode([*lines, " rare+0x4/0x20"], {VMLINUX: linked})
    assert all(line.endswith(("(some.c:7)", "(some.c:8)")) for line in decoded[:-1]), decoded
    assert decoded[-1].endswith("(some.c:3)")
    assert sorted(ran) == ["addr2line", "objdump"]


def test_what_is_not_known_stays(module: Path) -> None:
    lines = ["kfree+0x1/0x2", "usual+0x4/0x20 [other]", "nobody+0x1/0x2 [some]", "no address"]
    assert decode(lines, {"some": module}) == lines


def test_gdb_is_told_where_modules_are() -> None:
    kept = Kept(
        name="abc", kernel="k", pid=1, started=1, directory="/run/x", why="",
        objects={"some": "/b/some.ko", "vmlinux": "/b/vmlinux"},
        sections={"some": {".text": "0xc0", ".bss": "0xd0", ".note.x": "0xe0"}, "unbuilt": {".text": "0x1"}},
    )  # fmt: skip
    assert shlex.split(kept.gdb_command)[-1] == "add-symbol-file /b/some.ko 0xc0 -s .bss 0xd0"
    assert kept.gdb_command == (
        "gdb /b/vmlinux -ex 'target remote /run/x/gdb.sock'"
        " -ex 'add-symbol-file /b/some.ko 0xc0 -s .bss 0xd0'"
    )
