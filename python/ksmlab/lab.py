"""Build the modules of this repository, and load them in a VM."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.build import BuiltModules, build_modules
from ksmlab.vm.config import check_installed
from ksmlab.vm.errors import VmError
from ksmlab.vm.kernels import Kernel, KernelStore, cache_root, load_specs
from ksmlab.vm.path_checks import check_checkout, check_directory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ksmlab.progress import Progress
    from ksmlab.vm.machine import Machine

CHECKOUT = Path(__file__).resolve().parents[2]
#: The kernel that boots fastest. It has to be built from source, so it is used only if it is cached.
QUICK_KERNEL = "classic-6.1"


@dataclass(frozen=True)
class LabModule:
    """A module of this repository, and the parameters with which a VM loads it."""

    name: str
    parameters: tuple[str, ...] = ()


# The modules in the order in which they are loaded. With takeover, the driver has the usual path /sys/kernel/mm/ksm.
MODULES = (LabModule("ksm", ("sysfs=takeover",)), LabModule("ksm_lab"))


class Lab:
    """A checkout of the repository, and its kernels.

    Args:
        progress: Shows the steps of the work.
        checkout: The top directory of the checkout.
        kernels: The file that describes the kernels, instead of vm/kernels.toml in the checkout.
        builds: Whether modules will be built in the checkout.
    """

    def __init__(
        self, progress: Progress, checkout: Path = CHECKOUT, kernels: Path | None = None, *,
        builds: bool = True,
    ) -> None:  # fmt: skip
        """Check the checkout and the cache, and read the descriptions of the kernels.

        Raises:
            VmError: The directory is not a checkout, a VM or kbuild cannot use its path or the path of the cache,
                modules cannot be built in it, or the descriptions cannot be read.
        """
        check_installed()
        if builds:
            check_checkout(checkout)
        else:
            check_directory("checkout", checkout)
        check_directory("kernel cache", cache_root())
        self.progress = progress
        self.checkout = checkout
        self.store = KernelStore(load_specs(kernels or checkout / "vm/kernels.toml"), cache_root())

    @property
    def kernel_names(self) -> list[str]:
        """The names of all kernels."""
        return list(self.store.specs)

    def tested_names(self) -> list[str]:
        """Return the distribution's tested kernels that are cached or in the host's archive, the oldest first.

        Raises:
            VmError: There are none, or the archive cannot be queried.
        """
        return self.store.available(self.store.tested[::-1], self.progress.say)

    @property
    def built_names(self) -> list[str]:
        """The names of the kernels that are built from source."""
        return [name for name, spec in self.store.specs.items() if spec.built]

    def stock_kernel(self) -> str:
        """Return the newest tested kernel that is cached or in the host's archive.

        The archive is queried only for kernels that are newer than the newest cached one.

        Raises:
            VmError: There is none, or the archive cannot be queried and no tested kernel is cached.
        """
        return self.store.choose(self.store.tested, self.progress.say)

    def kernel_like(self, name: str) -> str:
        """Return `name` if that kernel is available on this host; otherwise return the stock kernel, and report it.

        Raises:
            VmError: Neither is available.
        """
        chosen = self.store.choose([name, *self.store.tested], self.progress.say)
        if chosen != name:
            self.progress.say(
                f"{name} is not available, so {chosen} is used; some numbers may differ"
            )
        return chosen

    def default_kernel(self) -> str:
        """Return the kernel for interactive work: the quick kernel if it is cached, otherwise the stock kernel."""
        return QUICK_KERNEL if self.store.find(QUICK_KERNEL) else self.stock_kernel()

    def kernel(self, name: str) -> Kernel:
        """Return a kernel; fetch or build it if it is not cached.

        Raises:
            VmError: The kernel cannot be fetched or built.
        """
        found = self.store.find(name)
        if found is not None:
            return found
        built = self.store.spec(name).built
        with self.progress.step(f"{name}: {'building' if built else 'fetching'} the kernel"):
            return self.store.get(name, self.progress.say if built else self.progress.note)

    def build(
        self,
        kernel: Kernel,
        variables: Mapping[str, str] | None = None,
        suffix: str = "",
        *,
        fresh: bool = False,
    ) -> BuiltModules:
        """Build the modules for a kernel in build/<name>.

        Args:
            kernel: The kernel to build for.
            variables: More make variables.
            suffix: Appended to the directory's name, so that other variables do not cause a rebuild there.
            fresh: Rebuild everything, so that the log has the compiler's messages for every file.

        Raises:
            VmError: The modules do not build.
        """
        with self.progress.step(f"{kernel.name}: building the modules"):
            return build_modules(
                self.checkout / "kernel",
                kernel.build_dir,
                self.checkout / "build" / f"{kernel.name}{suffix}",
                variables=variables,
                fresh=fresh,
            )

    def build_for(self, build_dir: Path, name: str = "custom") -> BuiltModules:
        """Build the modules for any kernel build directory, in build/<name>.

        Raises:
            VmError: The modules do not build.
        """
        with self.progress.step(f"building the modules for {build_dir}"):
            return build_modules(
                self.checkout / "kernel", build_dir.resolve(), self.checkout / "build" / name
            )


def load_commands(built: BuiltModules) -> list[list[str]]:
    """Return the commands that load the modules in a VM, in order."""
    return [["insmod", str(built.module(module.name)), *module.parameters] for module in MODULES]


def load(machine: Machine, built: BuiltModules) -> None:
    """Load the modules in a booted VM.

    Raises:
        VmError: insmod failed; the error's log has the end of the kernel's log.
    """
    for argv in load_commands(built):
        done = machine.run(argv)
        if done.status:
            dmesg = machine.run(["sh", "-c", "dmesg | tail -n 20"]).output
            raise VmError(
                f"`{shlex.join(argv)}` failed in the VM.",
                untouched="Nothing on the host was changed.",
                hint="The end of the VM's kernel log is above.",
                log=done.output + dmesg,
            )


def guest_python(*arguments: str) -> list[str]:
    """Return the command that runs this Python interpreter in the guest, which sees the host's files."""
    return [sys.executable, *arguments]


def guest_environment(checkout: Path = CHECKOUT, *, colour: bool = False) -> dict[str, str]:
    """Return the environment for this package's programs in the guest.

    Args:
        checkout: The checkout with the package.
        colour: Whether the output may have colours.
    """
    env = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(checkout / "python"),
    }
    if colour:
        env |= {"TERM": os.environ.get("TERM", "xterm-256color"), "FORCE_COLOR": "1"}
    else:
        env |= {"TERM": "dumb", "NO_COLOR": "1"}
    return env


def shell_script(hint: Sequence[str], checkout: Path = CHECKOUT) -> str:
    """Return the script that prepares an interactive shell: its directory, PATH and prompt, and a hint for the user.

    Args:
        hint: Lines to print.
        checkout: The checkout, which becomes the working directory.
    """
    lines = [
        f"cd {shlex.quote(str(checkout))}",
        f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
        f"export PYTHONPATH={shlex.quote(str(checkout / 'python'))} PYTHONDONTWRITEBYTECODE=1",
        f"export TERM={shlex.quote(os.environ.get('TERM', 'dumb'))}",
        "export PROMPT_COMMAND= PS1='vm:\\w# '",
    ]
    return "\n".join(lines + [f"printf '%s\\n' {shlex.quote(line)}" for line in hint])
