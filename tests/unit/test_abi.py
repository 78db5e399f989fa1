"""The Python interface equals the C header, to the bit, in C and in C++."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

from ksmlab import abi

UAPI = Path(__file__).resolve().parents[2] / "kernel/include/uapi"

NUMBERS = [
    "KSMIO",
    "KSM_API_VERSION",
    "KSM_GET_API_VERSION",
    "KSM_CREATE_SHARED_MEMORY_AREA",
    "KSM_REGISTER_MEMORY_REGION",
    "KSM_REGISTER_MEMORY_REGION_V16",
    "KSM_REMOVE_MEMORY_REGION",
]
STRUCTURES: dict[str, type[ctypes.Structure]] = {
    "ksm_memory_region": abi.MemoryRegion,
    "ksm_memory_region_v16": abi.MemoryRegionV16,
}
COMPILERS = {
    "c": ["gcc", "-x", "c", "-std=c99", "-pedantic"],
    "c-kernel": ["gcc", "-x", "c", "-std=gnu11"],
    "c++": ["g++", "-x", "c++", "-std=c++11", "-pedantic"],
}


def expected() -> dict[str, int]:
    """Return every number that the header and the module both have."""
    values = {name: int(getattr(abi, name)) for name in NUMBERS}
    for name, structure in STRUCTURES.items():
        values[f"sizeof {name}"] = ctypes.sizeof(structure)
        for field, _ in structure._fields_:  # type: ignore[misc]
            descriptor = getattr(structure, field)
            values[f"{name}.{field} offset"] = descriptor.offset
            values[f"{name}.{field} size"] = descriptor.size
    return values


def program() -> str:
    """Return a program that prints the same numbers from the header, which comes first."""
    lines = [
        "#include <linux/ksm.h>",
        "#include <stddef.h>",
        "#include <stdio.h>",
        "int main(void)",
        "{",
    ]

    def show(label: str, value: str) -> None:
        lines.append(f'\tprintf("{label}=%llu\\n", (unsigned long long)({value}));')

    for name in NUMBERS:
        show(name, name)
    for name, structure in STRUCTURES.items():
        show(f"sizeof {name}", f"sizeof(struct {name})")
        for field, _ in structure._fields_:  # type: ignore[misc]
            show(f"{name}.{field} offset", f"offsetof(struct {name}, {field})")
            show(f"{name}.{field} size", f"sizeof(((struct {name} *)0)->{field})")
    return "\n".join([*lines, "\treturn 0;", "}", ""])


@pytest.mark.parametrize("language", ["c", "c-kernel", "c++"])
def test_header_and_module_agree(language: str, tmp_path: Path) -> None:
    source, binary = tmp_path / "abi.c", tmp_path / "abi"
    source.write_text(program())
    flags = ["-Wall", "-Wextra", "-Werror", "-I", str(UAPI), "-o", str(binary), str(source)]
    subprocess.run([*COMPILERS[language], *flags], check=True)
    output = subprocess.run([binary], check=True, capture_output=True, text=True).stdout
    printed = {
        label: int(value)
        for label, value in (line.split("=") for line in output.split("\n") if line)
    }
    assert printed == expected()


def test_numbers_are_those_of_2009() -> None:
    assert abi.KSM_GET_API_VERSION == 0xAB00
    assert abi.KSM_CREATE_SHARED_MEMORY_AREA == 0xAB01
    assert abi.KSM_REGISTER_MEMORY_REGION == 0x4018AB20
    assert abi.KSM_REGISTER_MEMORY_REGION_V16 == 0x4010AB20
    assert abi.KSM_REMOVE_MEMORY_REGION == 0xAB21
    assert ctypes.sizeof(abi.MemoryRegion) == 24
    assert ctypes.sizeof(abi.MemoryRegionV16) == 16


def test_every_name_of_the_header_is_tested() -> None:
    text = (UAPI / "linux/ksm.h").read_text()
    defined = [line.split()[1] for line in text.splitlines() if line.startswith("#define")]
    assert sorted(defined) == sorted([*NUMBERS, "_UAPI_LINUX_KSM_H"])


def test_an_argument_too_large_for_a_number_is_refused() -> None:
    class Large(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_char * (1 << 14))]

    with pytest.raises(ValueError, match="14 bits"):
        abi.iow(abi.KSMIO, 0x20, Large)
