"""Loading and unloading the driver, for the tests that are about that."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ksmlab.lab import MODULE_DIR_VARIABLE, MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator


MM_KSM = Path("/sys/kernel/mm/ksm")


def kernel_has_ksm() -> bool:
    """Say whether the kernel has a KSM of its own, whoever has its directory: it counts what it copies."""
    return "\ncow_ksm " in Path("/proc/vmstat").read_text()


def kernels_own_ksm() -> Path:
    """Give the directory of the kernel's own KSM; the test is skipped where there is none."""
    if not kernel_has_ksm():
        pytest.skip("this kernel has no KSM of its own (CONFIG_KSM)")
    return MM_KSM


class Modules:
    """The driver and its laboratory, as they were built for this kernel."""

    def __init__(self) -> None:
        """Find out where they are; KeyError outside a VM of the test runner."""
        self.directory = Path(os.environ[MODULE_DIR_VARIABLE])

    def path(self, name: str) -> Path:
        """Give the .ko file of a module."""
        (found,) = self.directory.rglob(f"{name}.ko")
        return found

    @staticmethod
    def loaded() -> list[str]:
        """Give the names of our modules that are loaded, in the order of their loading."""
        return [module.name for module in MODULES if Path("/sys/module", module.name).is_dir()]

    def load(self, *names: str) -> None:
        """Load modules, each with its usual parameters; all of them if none is named."""
        for module in MODULES:
            if not names or module.name in names:
                self.insmod(module.name, *module.parameters)

    def insmod(self, name: str, *parameters: str) -> None:
        """Load one module with parameters of the test's own.

        Raises:
            RuntimeError: the kernel refused it; the text is what insmod said.
        """
        argv = ["insmod", str(self.path(name)), *parameters]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"insmod {name}: {done.stderr.strip()}")

    def unload(self) -> None:
        """Unload all that are loaded, the last one first.

        Raises:
            RuntimeError: the kernel refused it; the text is what rmmod said.
        """
        for name in reversed(self.loaded()):
            done = subprocess.run(["rmmod", name], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"rmmod {name}: {done.stderr.strip()}")

    @contextlib.contextmanager
    def without(self) -> Iterator[None]:
        """Have none of them loaded in the block, and all of them after it."""
        self.unload()
        try:
            yield
        finally:
            self.unload()
            self.load()
