"""The ioctls that the program must call; fake_kernel.c answers them."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
VERSION, CREATE, REGISTER = "0xab00", "0xab01", "0x4018ab20"
NAMES = {VERSION: "the version", CREATE: "CREATE", REGISTER: "REGISTER"}


def run(tmp_path: Path, **answers: int) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run the program with 5 pages.

    Returns:
        The finished process; and for each ioctl the name of its descriptor, its number, and the bytes of its argument.
    """
    log = tmp_path / "log"
    log.touch()
    fake = {f"FAKE_{name.upper()}": str(value) for name, value in answers.items()}
    done = subprocess.run(
        [HERE / "register", "5"],
        env={
            **os.environ,
            **fake,
            "LD_PRELOAD": str(HERE / "fake_kernel.so"),
            "FAKE_LOG": str(log),
        },
        input="\n",
        capture_output=True,
        text=True,
        check=False,
    )
    return done, [line.split() for line in log.read_text().splitlines()]


def in_words(calls: list[list[str]]) -> str:
    """Describe the ioctls that the program called."""
    return ", then ".join(f"{number} on the {fd}" for fd, number, *_ in calls) or "no ioctl"


def registered(calls: list[list[str]]) -> list[str]:
    """Return the call of REGISTER."""
    found = [call for call in calls if call[1] == REGISTER]
    assert found, (
        f"The program must call REGISTER, number {REGISTER}; it called {in_words(calls)}. See 'The number of an ioctl' "
        "and 'A structure, byte by byte'."
    )
    return found[-1]


def test_it_asks_for_the_version_creates_an_area_and_registers(tmp_path: Path) -> None:
    done, calls = run(tmp_path)
    wanted = [["device", VERSION], ["device", CREATE], ["area", REGISTER]]
    assert [call[:2] for call in calls] == wanted, (
        f"Expected: {in_words(wanted)}. Your program called: {in_words(calls)}. The size in the number of REGISTER is "
        "0x18, the size of the structure. See 'Two descriptors'."
    )
    assert done.returncode == 0, (
        f"All calls succeeded, so register_memory() must return the descriptor of the area. The program ended with "
        f"status {done.returncode}: {done.stderr.strip()}"
    )


def test_the_structure_describes_the_memory(tmp_path: Path) -> None:
    _, calls = run(tmp_path)
    _, _, argument, content = registered(calls)
    npages, _, addr, _ = struct.unpack("=IIQQ", bytes.fromhex(argument))
    assert npages == 5, (
        f"The first member of the structure must be the number of pages, 5; your code passed {npages}"
        f"{', which is bytes' if npages == 5 * 4096 else ''}. See 'A structure, byte by byte'."
    )
    assert addr % 4096 == 0, (
        f"The address must be the start of a page; your code passed {addr:#x}. See 'A structure, byte by byte'."
    )
    assert content == "k", (
        "The address must be that of the memory that main() has filled. See the argument `memory`."
    )


def test_another_version_gets_no_memory(tmp_path: Path) -> None:
    done, calls = run(tmp_path, version=2)
    assert calls, "The program must ask for the version first; it called no ioctl."
    assert [call[1] for call in calls] == [VERSION], (
        f"The version is 2 here, so the program must stop after it has asked. It called: {in_words(calls)}."
    )
    assert done.returncode == 1, (
        f"The version is 2 here, so register_memory() must return -1; the program ended with status {done.returncode}."
    )


def test_an_error_of_register_is_reported(tmp_path: Path) -> None:
    done, calls = run(tmp_path, errno=errno.EEXIST)
    registered(calls)
    assert done.returncode == 1, (
        "REGISTER failed with EEXIST here, so register_memory() must return -1; the program ended with status "
        f"{done.returncode}. See 'Requests that the kernel refuses'."
    )
    assert os.strerror(errno.EEXIST) in done.stderr, (
        f"REGISTER failed with EEXIST, but the program printed: {done.stderr.strip()}. Do not change errno after "
        "the call."
    )
