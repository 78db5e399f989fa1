"""Say what this host lacks, and the command that installs it; run that command if asked to.

It runs before anything is installed, so it needs nothing but Python's standard library, and works as a plain script:

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

#: What works on a host that has no Debian archive.
ELSEWHERE = (
    "Without a Debian archive, VMs boot only kernels that are cached already, and `make build KDIR=DIR` builds the "
    "modules for a kernel of your own. To do more, use Debian 12 or 13, for example in a root made with debootstrap."
)
#: The packages that only such an archive is of use for.
DEBIAN_TOOLS = ("apt", "dpkg")
OLDEST_PYTHON = (3, 11)
# Some of the tools are where only root's PATH looks.
TOOL_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def has_command(name: str) -> bool:
    """Say whether a command can be run here."""
    return shutil.which(name, path=TOOL_PATH) is not None


def has_library(name: str) -> bool:
    """Say whether a shared library can be loaded here."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def has_venv() -> bool:
    """Say whether this Python can make a virtual environment with pip in it."""
    return sys.prefix != sys.base_prefix or importlib.util.find_spec("ensurepip") is not None


@dataclass(frozen=True)
class Need:
    """Something that has to be here.

    Attributes:
        what: Its name.
        why: What it is for.
        package: The Debian package that has it.
        check: Says whether it is here.
    """

    what: str
    why: str
    package: str
    check: Callable[[], bool]


def command(name: str, why: str, package: str) -> Need:
    """Describe the need for a command."""
    return Need(name, why, package, lambda: has_command(name))


NEEDS: tuple[Need, ...] = (
    Need("python3 venv", "keeps the Python packages in .venv", "python3-venv", has_venv),
    command("make", "runs everything", "make"),
    command("gcc", "builds the modules", "gcc"),
    command("g++", "tests the ABI header from C++", "g++"),
    Need(
        "C headers",
        "test clients are C programs",
        "libc6-dev",
        Path("/usr/include/stdio.h").is_file,
    ),
    Need(
        "libelf", "the kernel's build tools load it", "libelf1", lambda: has_library("libelf.so.1")
    ),
    command("flex", "builds kernels", "flex"),
    command("bison", "builds kernels", "bison"),
    command("bc", "builds kernels", "bc"),
    Need(
        "libelf headers",
        "a kernel's build checks its objects with a tool that wants them",
        "libelf-dev",
        Path("/usr/include/gelf.h").is_file,
    ),
    command("apt-get", "fetches kernels, without root", "apt"),
    command("dpkg", "unpacks kernels, without root", "dpkg"),
    command("depmod", "indexes a kernel's modules, loads ours", "kmod"),
    command("qemu-system-x86_64", "runs the VMs", "qemu-system-x86"),
    command("file", "tells virtme-ng the release of a kernel image", "file"),
    command("modprobe", "tells virtme-ng which modules a VM boots with", "kmod"),
    command("objdump", "finds the source lines of an oops", "binutils"),
    command("losetup", "gives a VM a disk to swap to", "mount"),
    command("busybox", "starts the VMs (a static one)", "busybox-static"),
    command("setsid", "gives a VM a terminal of its own", "util-linux"),
    command("stress-ng", "loads the VM beside the stress test", "stress-ng"),
    command("sparse", "checks the driver's sources (make lint)", "sparse"),
    command("perl", "runs the kernel's checkpatch (make lint)", "perl"),
    command("xz", "unpacks kernel sources", "xz-utils"),
)

#: What only tests need: `make test` installs it, and no other target does.
TEST_NEEDS: tuple[Need, ...] = (
    command("chromium", "shows the demonstration's page to its tests", "chromium"),
    command("chromedriver", "lets the tests use chromium", "chromium-driver"),
    Need(
        "a font",
        "chromium has words to measure",
        "fonts-dejavu-core",
        Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").is_file,
    ),
)
ALL_NEEDS = NEEDS + TEST_NEEDS

#: What a person may want; everything works without it, and nothing here installs it.
OPTIONAL: tuple[Need, ...] = (
    command("gdb", "debugs a VM that was kept (pytest --vm-keep)", "gdb"),
)


def missing(needs: Iterable[Need] = ALL_NEEDS) -> list[Need]:
    """Give the needs that this host does not meet. A host without apt-get does not need Debian's package tools."""
    unneeded = () if has_command("apt-get") else DEBIAN_TOOLS
    return [need for need in needs if need.package not in unneeded and not need.check()]


def host_problem() -> str | None:
    """Say what no package can mend, None if there is nothing."""
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return f"This is Python {platform.python_version()}; {wanted} or newer is needed (make PYTHON=python3.11 …)."
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"This is {platform.system()} on {platform.machine()}; Linux on x86_64 is needed."
    return None


def install_commands(needs: Iterable[Need]) -> list[list[str]]:
    """Give the commands, to be run as root, that install what is missing."""
    packages = sorted({need.package for need in needs})
    return [
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--no-install-recommends", *packages],
    ]


def root_prefix() -> list[str] | None:
    """Give what to put before a command to run it as root; None if there is no way from here."""
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
    """Write commands as a person types them."""
    return " && ".join(" ".join([*prefix, *words]) for words in commands)


def advice(needs: Iterable[Need], prefix: Sequence[str]) -> str:
    """Say how to install what is missing, with a command if this host has apt-get."""
    if has_command("apt-get"):
        return "Install what is missing with:\n  " + shell_line(install_commands(needs), prefix)
    packages = sorted({need.package for need in needs})
    return (
        "This host has no apt-get. Install what is missing with its own package manager. Debian's names for it are:\n"
        f"  {' '.join(packages)}\n{ELSEWHERE}"
    )


def report(needs: Iterable[Need] = ALL_NEEDS) -> list[str]:
    """Give a line for each need: met or not, and what it is for."""
    return [
        f"{'ok     ' if need.check() else 'MISSING'}  {need.what:20} {need.why}" for need in needs
    ]


def report_optional(needs: Iterable[Need] = OPTIONAL) -> list[str]:
    """Give a line for each thing that is only wanted; for one that is not here, with the package that has it."""
    lines = []
    for need in needs:
        here = need.check()
        hint = "" if here else f" (Debian's package {need.package})"
        lines.append(f"{'ok     ' if here else 'without'}  {need.what:20} {need.why}{hint}")
    return lines


def install(needs: list[Need], say: Callable[[str], None]) -> bool:
    """Install what is missing, as root or by sudo.

    Returns:
        Whether all of it is here now. If it cannot be installed from here, the exact command is said.
    """
    commands = install_commands(needs)
    say("Missing on this host: " + ", ".join(need.what for need in needs))
    prefix = root_prefix() if has_command("apt-get") else None
    if prefix is None:
        say(f"Nothing was installed. Try again after this, as root. {advice(needs, [])}")
        return False
    for words in commands:
        say("+ " + " ".join([*prefix, *words]))
        # sudo may clear the environment, so the setting goes with the command.
        argv = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", *words]
        if subprocess.run(argv, check=False).returncode:
            say(
                "That failed; what was here before is as it was. Look at the lines above, then try again."
            )
            return False
    still = missing(needs)
    if still:
        say("Still missing: " + ", ".join(need.what for need in still))
    return not still


def main(arguments: Sequence[str]) -> int:
    """Run as a script.

    Args:
        arguments: "--install" to install what is missing, "--quiet" to say nothing if all is well, "--no-tests" to
            leave out what only tests need.

    Returns:
        0 if all is here, 1 if not.
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
