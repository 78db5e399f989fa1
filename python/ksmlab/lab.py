"""What the /dev/ksm lab adds to the VM half: which modules there are, how they are built, and how they are loaded."""

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
#: The kernel that boots fastest. It has to be built, so nothing depends on it.
QUICK_KERNEL = "classic-6.1"


@dataclass(frozen=True)
class LabModule:
    """One of our modules, and the parameters that a VM loads it with."""

    name: str
    parameters: tuple[str, ...] = ()


# In the order in which they are loaded. takeover: the paths that everyone knows are the paths that work.
MODULES = (LabModule("ksm", ("sysfs=takeover",)), LabModule("ksm_lab"))


class Lab:
    """A checkout of the repository, with the kernels that it knows.

    Args:
        progress: Where steps are shown.
        checkout: Its top directory.
        kernels: Where the kernels are described, if not in its vm/kernels.toml.
        builds: Whether modules are going to be built in it.
    """

    def __init__(
        self, progress: Progress, checkout: Path = CHECKOUT, kernels: Path | None = None, *,
        builds: bool = True,
    ) -> None:  # fmt: skip
        """Check the checkout and the cache before anything takes time, and read the descriptions of the kernels.

        Raises:
            VmError: This is no checkout, a VM or kbuild cannot use its path or the cache's, it cannot be built in, or
                the descriptions cannot be read.
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
        """All kernels that are described."""
        return list(self.store.specs)

    def tested_names(self) -> list[str]:
        """Give the distribution's tested kernels that are cached or in the host's archive, the oldest first.

        Raises:
            VmError: There are none, or the archive cannot be asked.
        """
        return self.store.available(self.store.tested[::-1], self.progress.say)

    @property
    def built_names(self) -> list[str]:
        """The kernels that are built here."""
        return [name for name, spec in self.store.specs.items() if spec.built]

    def stock_kernel(self) -> str:
        """Give the newest tested kernel that the host's archive has. A cached one is taken without asking.

        Raises:
            VmError: There is none, or the archive cannot be asked and no tested kernel is cached.
        """
        return self.store.choose(self.store.tested, self.progress.say)

    def kernel_like(self, name: str) -> str:
        """Give this kernel, or the stock kernel, with a remark, if this one is not to be had on this host.

        Raises:
            VmError: Neither is.
        """
        chosen = self.store.choose([name, *self.store.tested], self.progress.say)
        if chosen != name:
            self.progress.say(f"this is made for {name}; on {chosen} some numbers may differ")
        return chosen

    def default_kernel(self) -> str:
        """Give the kernel for interactive work: the quick kernel if it is built, or else the stock kernel."""
        return QUICK_KERNEL if self.store.find(QUICK_KERNEL) else self.stock_kernel()

    def kernel(self, name: str) -> Kernel:
        """Give a kernel, fetched or built now if it is not here.

        Raises:
            VmError: It cannot be fetched or built.
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
        """Build the modules for a kernel into build/<name>.

        Args:
            kernel: What to build for.
            variables: More make variables.
            suffix: Added to the directory's name, so that another set of variables has a build of its own.
            fresh: Rebuild everything, so that the log has the compiler's messages for every file.
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
        """Build the modules for a kernel build directory that is not one of ours."""
        with self.progress.step(f"building the modules for {build_dir}"):
            return build_modules(
                self.checkout / "kernel", build_dir.resolve(), self.checkout / "build" / name
            )


def load_commands(built: BuiltModules) -> list[list[str]]:
    """Give the commands that load the modules in a VM, in order."""
    return [["insmod", str(built.module(module.name)), *module.parameters] for module in MODULES]


def load(machine: Machine, built: BuiltModules) -> None:
    """Load the modules in a booted VM.

    Raises:
        VmError: insmod failed; the kernel's log says why.
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
    """Give the command that runs our Python in the guest, which sees the same files as the host."""
    return [sys.executable, *arguments]


def guest_environment(checkout: Path = CHECKOUT, *, colour: bool = False) -> dict[str, str]:
    """Give the environment that our Python programs want in the guest."""
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
    """Write what an interactive shell starts with: the checkout as its directory, our tools on its PATH, and a hint."""
    lines = [
        f"cd {shlex.quote(str(checkout))}",
        f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
        f"export PYTHONPATH={shlex.quote(str(checkout / 'python'))} PYTHONDONTWRITEBYTECODE=1",
        f"export TERM={shlex.quote(os.environ.get('TERM', 'dumb'))}",
        "export PROMPT_COMMAND= PS1='vm:\\w# '",
    ]
    return "\n".join(lines + [f"printf '%s\\n' {shlex.quote(line)}" for line in hint])
