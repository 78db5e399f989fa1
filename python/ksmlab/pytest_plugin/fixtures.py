"""Fixtures for tests in a VM, whatever module they are about."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ksmlab.pytest_plugin.setup import MODULE_DIR_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator


class VmModules:
    """The modules that were built for this kernel.

    Args:
        directory: Where they are.
    """

    def __init__(self, directory: Path) -> None:
        """Keep the directory."""
        self.directory = directory
        self._loaded: list[str] = []

    def path(self, name: str) -> Path:
        """Give the .ko file of a module.

        Raises:
            FileNotFoundError: None of that name was built.
        """
        # What make is just doing there comes and goes: walk() passes by what is gone.
        for directory, _, files in os.walk(self.directory):
            if f"{name}.ko" in files:
                return Path(directory, f"{name}.ko")
        raise FileNotFoundError(f"no {name}.ko in {self.directory}")

    def load(self, name: str, *parameters: str) -> None:
        """Load a module, as insmod does.

        Raises:
            RuntimeError: The kernel refused it; the text is what insmod said.
        """
        self._run("insmod", str(self.path(name)), *parameters)
        self._loaded.append(name)

    def unload(self, name: str) -> None:
        """Unload a module, as rmmod does.

        Raises:
            RuntimeError: The kernel refused it; the text is what rmmod said.
        """
        self._run("rmmod", name)
        if name in self._loaded:
            self._loaded.remove(name)

    def unload_all(self) -> None:
        """Unload all that `load` loaded, the last one first."""
        while self._loaded:
            self.unload(self._loaded[-1])

    @staticmethod
    def _run(*argv: str) -> None:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{argv[0]} {argv[1]}: {done.stderr.strip()}")


def module_dir() -> Path:
    """Give the directory with the modules that were built for this kernel; the test fails if there is none."""
    directory = os.environ.get(MODULE_DIR_VARIABLE)
    if directory is None:
        pytest.fail("vm_modules is not set in pytest's configuration: there is nothing to load")
    return Path(directory)


@pytest.fixture(scope="session")
def vm_kernel(request: pytest.FixtureRequest) -> str:
    """The name of the kernel that the test runs on."""
    return str(request.param)


@pytest.fixture
def vm_modules() -> Iterator[VmModules]:
    """The project's modules; those that the test loads are unloaded after it."""
    modules = VmModules(module_dir())
    yield modules
    modules.unload_all()
