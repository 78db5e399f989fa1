"""From a project's settings to what its VMs are made of: which kernels, which modules, which options."""

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

#: In the guest's environment: the directory with the modules that were built for its kernel.
MODULE_DIR_VARIABLE = "KSMLAB_MODULE_DIR"


class Setup:
    """The settings of one run.

    Args:
        config: pytest's.
    """

    def __init__(self, config: pytest.Config) -> None:
        """Keep it; nothing is read or built yet."""
        self._config = config
        self._root = config.rootpath
        self._built: dict[str, tuple[Kernel, BuiltModules | None]] = {}

    @property
    def worker(self) -> bool:
        """Whether this is one of pytest-xdist's workers."""
        return hasattr(self._config, "workerinput")

    @property
    def ahead(self) -> bool:
        """Whether the controller prepares everything before workers start: it does if a kernel is named."""
        return bool(self._config.option.kernel)

    @cached_property
    def store(self) -> KernelStore:
        """The kernels that the project knows.

        Raises:
            VmError: They are not described where vm_kernels says.
        """
        path = self._root / self._config.getini("vm_kernels")
        if not path.is_file():
            raise VmError(
                f"{path} is not there: it describes the kernels that tests run on.",
                untouched="Nothing was run.",
                hint="Set vm_kernels in pytest's configuration.",
            )
        return KernelStore(load_specs(path), cache_root())

    @cached_property
    def kernels(self) -> list[str]:
        """The names of the kernels that this run is for.

        Raises:
            VmError: None is named, and none of vm_default_kernels is available.
        """
        if named := self._config.option.kernel:
            return list(dict.fromkeys(named))
        names = self._config.getini("vm_default_kernels") or sorted(self.store.specs)
        if self._config.option.collectonly:
            # The list of tests must not wait for the network.
            return [next((name for name in names if self.store.find(name)), names[-1])]
        return [self.store.choose(names, self.say)]

    def belongs_in_vm(self, path: Path) -> bool:
        """Say whether the tests of a file run in VMs: those in vm_tests, or all if a kernel is named."""
        directories = self._config.getini("vm_tests")
        if not directories:
            return bool(self._config.option.kernel)
        return any(path.is_relative_to(directory) for directory in directories)

    def check(self) -> None:
        """Check what a run in VMs depends on, if tests that run in VMs may be among those asked for.

        That is the names of the kernels, the paths of the project and the cache, and the room for the modules. A kernel
        that is fetched or built takes minutes, and they would be known too late.

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
        """Fetch every kernel of this run, and build the modules for it.

        Raises:
            VmError: A kernel is not available, or its modules do not build.
        """
        for name in self.kernels:
            self.built(name)

    def built(self, name: str) -> tuple[Kernel, BuiltModules | None]:
        """Give a kernel and the modules for it, fetched and built now if need be."""
        if name not in self._built:
            kernel = self.store.find(name) or self.store.get(name, self.say)
            modules = None
            if source := self._config.getini("vm_modules"):
                target = self._root / self._config.getini("vm_build") / name
                if self.worker and self.ahead:
                    # prepare() has built them, and another worker's VM may be reading them by now.
                    modules = find_modules(target)
                else:
                    self.say(f"{name}: building the modules")
                    modules = build_modules(self._root / source, kernel.build_dir, target)
            self._built[name] = (kernel, modules)
        return self._built[name]

    def leg(self, name: str) -> Leg:
        """Make what runs a kernel."""
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
        """Show a person a line, between pytest's own."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and not self.worker:
            terminal.ensure_newline()
            terminal.write_line(line)
        elif worker := os.environ.get("PYTEST_XDIST_WORKER"):
            print(f"{worker}: {line}", flush=True)
