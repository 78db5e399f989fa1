"""List the programs and libraries that this host lacks, and install them if requested.

This runs before anything is installed, so it needs only Python's standard library, and works as a plain script:

    python3 python/ksmlab/doctor.py [--install] [--no-tests]
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: A hint for hosts that have no Debian archive.
ELSEWHERE = (
    "Without a Debian archive, VMs can boot only kernels that are already cached, and `make build KDIR=DIR` builds the "
    "modules for your own kernel. To do more, use Debian 12 or 13, for example in a root made with debootstrap."
)
#: The packages that are only needed to use a Debian archive.
DEBIAN_TOOLS = ("apt", "dpkg")
OLDEST_PYTHON = (3, 11)
# Some of the tools are in directories that only root has in its PATH.
TOOL_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def has_command(name: str) -> bool:
    """Return whether a command is installed."""
    return shutil.which(name, path=TOOL_PATH) is not None


def has_library(name: str) -> bool:
    """Return whether a shared library can be loaded."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def has_venv() -> bool:
    """Return whether this Python can create a virtual environment that contains pip."""
    return sys.prefix != sys.base_prefix or importlib.util.find_spec("ensurepip") is not None


@dataclass(frozen=True)
class Need:
    """A program, library or file that has to be installed.

    Attributes:
        what: Its name.
        why: Its purpose.
        package: The Debian package that contains it.
        check: Returns whether it is installed.
    """

    what: str
    why: str
    package: str
    check: Callable[[], bool]


def command(name: str, why: str, package: str) -> Need:
    """Return the need for a command."""
    return Need(name, why, package, lambda: has_command(name))


NEEDS: tuple[Need, ...] = (
    Need("python3 venv", "installs the Python packages in .venv", "python3-venv", has_venv),
    command("make", "runs all builds and tests", "make"),
    command("gcc", "builds the modules", "gcc"),
    command("g++", "tests the ABI header from C++", "g++"),
    Need(
        "C headers",
        "needed to compile the test clients",
        "libc6-dev",
        Path("/usr/include/stdio.h").is_file,
    ),
    Need(
        "libelf", "used by the kernel's build tools", "libelf1", lambda: has_library("libelf.so.1")
    ),
    command("flex", "builds kernels", "flex"),
    command("bison", "builds kernels", "bison"),
    command("bc", "builds kernels", "bc"),
    Need(
        "libelf headers",
        "needed to compile a tool that kernel builds use",
        "libelf-dev",
        Path("/usr/include/gelf.h").is_file,
    ),
    command("apt-get", "fetches kernels, without root", "apt"),
    command("dpkg", "unpacks kernels, without root", "dpkg"),
    command("depmod", "indexes a kernel's modules", "kmod"),
    command("qemu-system-x86_64", "runs the VMs", "qemu-system-x86"),
    command("file", "finds the release of a kernel image for virtme-ng", "file"),
    command("modprobe", "finds the modules that a VM needs to boot", "kmod"),
    command("objdump", "finds the source lines of an oops", "binutils"),
    command("losetup", "sets up a swap disk in a VM", "mount"),
    command("busybox", "is the first program in a VM (statically linked)", "busybox-static"),
    command("setsid", "starts a VM on its own terminal", "util-linux"),
    command("stress-ng", "creates load in a VM during the stress test", "stress-ng"),
    command("sparse", "checks the driver's sources (make lint)", "sparse"),
    command("perl", "runs the kernel's checkpatch (make lint)", "perl"),
    command("xz", "unpacks kernel sources", "xz-utils"),
)

#: Needed only by tests. `make test` and `make test-host` install them; the other targets do not.
TEST_NEEDS: tuple[Need, ...] = (
    command("chromium", "shows the pages that the tests check", "chromium"),
    command("chromedriver", "controls chromium in the tests", "chromium-driver"),
    Need(
        "a font",
        "shows text in chromium",
        "fonts-dejavu-core",
        Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").is_file,
    ),
)
ALL_NEEDS = NEEDS + TEST_NEEDS

#: Optional programs. Nothing needs them, and this script does not install them.
OPTIONAL: tuple[Need, ...] = (
    command("gdb", "debugs the kernel of a kept VM (pytest --vm-keep)", "gdb"),
)


def missing(needs: Iterable[Need] = ALL_NEEDS) -> list[Need]:
    """Return the needs that this host does not meet. A host without apt-get does not need Debian's package tools."""
    unneeded = () if has_command("apt-get") else DEBIAN_TOOLS
    return [need for need in needs if need.package not in unneeded and not need.check()]


def host_problem() -> str | None:
    """Return a problem of this host that no package can solve, or None if there is none."""
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return (
            f"Python {platform.python_version()} is too old: this project needs {wanted} or newer. "
            "Choose another one with:  make PYTHON=python3.11 …"
        )
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return (
            f"This host runs {platform.system()} on {platform.machine()}, but this project needs Linux on x86_64. "
            "Use another host."
        )
    return None


def install_commands(needs: Iterable[Need]) -> list[list[str]]:
    """Return the commands that install the packages of `needs`. They have to be run as root."""
    packages = sorted({need.package for need in needs})
    return [
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--no-install-recommends", *packages],
    ]


def root_prefix() -> list[str] | None:
    """Return the words to put before a command to run it as root, or None if this process cannot become root."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    if sys.stdin.isatty():
        return ["sudo"]
    without_asking = subprocess.run(
        ["sudo", "-n", "true"],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return ["sudo", "-n"] if without_asking.returncode == 0 else None


def shell_line(commands: Iterable[Sequence[str]], prefix: Sequence[str]) -> str:
    """Return commands as one line for a shell."""
    return " && ".join(" ".join([*prefix, *words]) for words in commands)


def advice(needs: Iterable[Need], prefix: Sequence[str]) -> str:
    """Return a message that says how to install missing packages, with a command if this host has apt-get."""
    if has_command("apt-get"):
        return "Install the missing packages with:\n  " + shell_line(
            install_commands(needs), prefix
        )
    packages = sorted({need.package for need in needs})
    return (
        "This host has no apt-get. Install the missing packages with its own package manager. Their Debian names are:\n"
        f"  {' '.join(packages)}\n{ELSEWHERE}"
    )


def report(needs: Iterable[Need] = ALL_NEEDS) -> list[str]:
    """Return a line for each need, which says whether it is met, and its purpose."""
    return [
        f"{'ok     ' if need.check() else 'MISSING'}  {need.what:20} {need.why}" for need in needs
    ]


def report_optional(needs: Iterable[Need] = OPTIONAL) -> list[str]:
    """Return a line for each optional program, with its Debian package if it is not installed."""
    lines = []
    for need in needs:
        here = need.check()
        hint = "" if here else f" (optional; Debian package {need.package})"
        lines.append(f"{'ok     ' if here else 'without'}  {need.what:20} {need.why}{hint}")
    return lines


def install(needs: list[Need], say: Callable[[str], None]) -> bool:
    """Install missing packages, as root or with sudo.

    Args:
        needs: The needs that are not met.
        say: Called with each line of the report. If this process cannot become root, the report has the commands.

    Returns:
        Whether all needs are met now.
    """
    commands = install_commands(needs)
    say("Missing on this host: " + ", ".join(need.what for need in needs))
    prefix = root_prefix() if has_command("apt-get") else None
    if prefix is None:
        say(f"Nothing was installed. Do the following as root, then try again. {advice(needs, [])}")
        return False
    for words in commands:
        say("+ " + " ".join([*prefix, *words]))
        # sudo may clear the environment, so set the variable in the command.
        argv = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", *words]
        if subprocess.run(argv, check=False).returncode:
            say(
                "This command failed. Remove the cause, which is in the lines above, then try again."
            )
            return False
    still = missing(needs)
    if still:
        say("Still missing: " + ", ".join(need.what for need in still))
    return not still


def main(arguments: Sequence[str]) -> int:
    """Run the script.

    Args:
        arguments: "--install" installs missing packages, "--quiet" prints nothing if nothing is missing, and
            "--no-tests" ignores packages that only tests need.

    Returns:
        0 if nothing is missing (any more), 1 otherwise.
    """
    problem = host_problem()
    if problem is not None:
        print(problem, file=sys.stderr)
        return 1
    wanted = NEEDS if "--no-tests" in arguments else ALL_NEEDS
    needs = missing(wanted)
    if "--quiet" not in arguments:
        print("\n".join([*report(wanted), *report_optional()]), flush=True)
    if not needs:
        return 0
    if "--install" in arguments:
        return 0 if install(needs, lambda line: print(line, flush=True)) else 1
    print(advice(needs, ["sudo"]))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
