"""Read the options and the configuration of a run, fetch its kernels, build its modules, and configure its VMs."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.pytest_plugin.leg import Leg
from ksmlab.pytest_plugin.plan import Plan
from ksmlab.vm import accel
from ksmlab.vm.build import BuiltModules, build_modules, find_modules
from ksmlab.vm.decode import VMLINUX
from ksmlab.vm.errors import VmError
from ksmlab.vm.kernels import KernelStore, cache_root, load_specs
from ksmlab.vm.path_checks import MODULES_BYTES, check_directory, check_writable

if TYPE_CHECKING:
    import pytest

    from ksmlab.vm.kernels import Kernel

#: The variable in the guest's environment with the directory of the modules that were built for its kernel.
MODULE_DIR_VARIABLE = "KSMLAB_MODULE_DIR"


class Setup:
    """The kernels, modules and VMs of one run.

    Args:
        config: The configuration of pytest.
    """

    def __init__(self, config: pytest.Config) -> None:
        """Do not read or build anything yet."""
        self._config = config
        self._root = config.rootpath
        self._built: dict[str, tuple[Kernel, BuiltModules | None]] = {}

    @property
    def worker(self) -> bool:
        """Whether this process is a worker of pytest-xdist."""
        return hasattr(self._config, "workerinput")

    @property
    def ahead(self) -> bool:
        """Whether all kernels and modules are prepared before workers start, which is so if --kernel is given."""
        return bool(self._config.option.kernel)

    @cached_property
    def store(self) -> KernelStore:
        """The kernels of the project.

        Raises:
            VmError: The file that vm_kernels names does not exist or is not valid.
        """
        path = self._root / self._config.getini("vm_kernels")
        if not path.is_file():
            raise VmError(
                f"The file that describes the kernels, {path}, does not exist.",
                untouched="Nothing was run.",
                hint="Create it, or set vm_kernels in pytest's configuration to the path of another file.",
            )
        return KernelStore(load_specs(path), cache_root())

    @cached_property
    def kernels(self) -> list[str]:
        """The names of the kernels of this run.

        Raises:
            VmError: --kernel is not given, and none of vm_default_kernels is available.
        """
        if named := self._config.option.kernel:
            return list(dict.fromkeys(named))
        names = self._config.getini("vm_default_kernels") or sorted(self.store.specs)
        if self._config.option.collectonly:
            # With --collect-only, do not access the network.
            return [next((name for name in names if self.store.find(name)), names[-1])]
        return [self.store.choose(names, self.say)]

    def belongs_in_vm(self, path: Path) -> bool:
        """Return whether the tests of a file run in VMs: those in vm_tests, or all if only --kernel is given."""
        directories = self._config.getini("vm_tests")
        if not directories:
            return bool(self._config.option.kernel)
        return any(path.is_relative_to(directory) for directory in directories)

    def check(self) -> None:
        """Check the requirements of tests in VMs, unless the arguments select only other tests.

        The requirements are valid names of kernels, valid paths of the project and the cache, and free space for the
        modules. They are checked first, since fetching or building a kernel takes minutes.

        Raises:
            VmError: A kernel is unknown, or kbuild or a VM cannot use a directory.
        """
        directories = [path.resolve() for path in self._config.getini("vm_tests")]
        start = self._config.invocation_params.dir
        asked = [(start / argument.split("::")[0]).resolve() for argument in self._config.args]
        if self._config.option.kernel or any(
            path.is_relative_to(directory) or directory.is_relative_to(path)
            for path in asked
            for directory in directories
        ):
            check_directory("project", self._root)
            check_directory("kernel cache", self.store.cache)
            if self._config.getini("vm_modules") and not self._config.option.collectonly:
                build = self._root / self._config.getini("vm_build")
                check_writable("build directory", build, MODULES_BYTES)
            for name in self.kernels:
                self.store.spec(name)

    def prepare(self) -> None:
        """Fetch or build all kernels of this run, and build the modules for them.

        Raises:
            VmError: A kernel is not available, or its modules do not build.
        """
        for name in self.kernels:
            self.built(name)

    def built(self, name: str) -> tuple[Kernel, BuiltModules | None]:
        """Return a kernel and the modules for it; fetch and build them if necessary.

        Raises:
            VmError: The kernel is not available, or its modules do not build.
        """
        if name not in self._built:
            kernel = self.store.find(name) or self.store.get(name, self.say)
            modules = None
            if source := self._config.getini("vm_modules"):
                target = self._root / self._config.getini("vm_build") / name
                if self.worker and self.ahead:
                    # prepare() has built them. Do not build them again, since the VM of another worker may use them.
                    modules = find_modules(target)
                else:
                    self.say(f"{name}: building the modules")
                    modules = build_modules(self._root / source, kernel.build_dir, target)
            self._built[name] = (kernel, modules)
        return self._built[name]

    def leg(self, name: str) -> Leg:
        """Return the Leg that runs the tests of a kernel.

        Raises:
            VmError: The kernel is not available, or its modules do not build.
        """
        kernel, modules = self.built(name)
        how = accel.probe()
        option = self._config.option
        environment = {}
        objects = {}
        if modules is not None:
            environment[MODULE_DIR_VARIABLE] = str(modules.directory)
            objects = {path.stem.replace("-", "_"): path for path in modules.modules}
        if kernel.vmlinux.is_file():
            objects[VMLINUX] = kernel.vmlinux
        allow = self._config.getini("vm_allow")
        plan = Plan(
            arguments=tuple(self._config.invocation_params.args),
            cwd=self._config.invocation_params.dir,
            allow=self._root / allow if allow else None,
            boot_args=tuple(option.vm_boot),
            memory=option.vm_memory,
            cpus=option.vm_cpus,
            deadline=option.vm_deadline,
            record=Path(option.vm_record).absolute() if option.vm_record else None,
            keep=option.vm_keep,
            environment=environment,
            objects=objects,
        )
        return Leg(kernel, plan, how, self.say)

    def say(self, line: str) -> None:
        """Print a line for the user, between those of pytest."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and not self.worker:
            terminal.ensure_newline()
            terminal.write_line(line)
        elif worker := os.environ.get("PYTEST_XDIST_WORKER"):
            print(f"{worker}: {line}", flush=True)
