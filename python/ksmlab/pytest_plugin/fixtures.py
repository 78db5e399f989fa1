"""Fixtures for tests in a VM of any module."""

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
        directory: The directory that contains them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._loaded: list[str] = []

    def path(self, name: str) -> Path:
        """Return the .ko file of a module.

        Raises:
            FileNotFoundError: No module of this name was built.
        """
        # A make on the host may create and remove files at the same time; os.walk() ignores removed directories.
        for directory, _, files in os.walk(self.directory):
            if f"{name}.ko" in files:
                return Path(directory, f"{name}.ko")
        raise FileNotFoundError(
            f"there is no {name}.ko in {self.directory}, where the modules for this kernel are built"
        )

    def load(self, name: str, *parameters: str) -> None:
        """Load a module with insmod.

        Args:
            name: The name of the module.
            parameters: Its parameters, as name=value.

        Raises:
            RuntimeError: insmod failed; the text has its message.
        """
        self._run("insmod", str(self.path(name)), *parameters)
        self._loaded.append(name)

    def unload(self, name: str) -> None:
        """Unload a module with rmmod.

        Raises:
            RuntimeError: rmmod failed; the text has its message.
        """
        self._run("rmmod", name)
        if name in self._loaded:
            self._loaded.remove(name)

    def unload_all(self) -> None:
        """Unload all modules that `load` has loaded, the last one first."""
        while self._loaded:
            self.unload(self._loaded[-1])

    @staticmethod
    def _run(*argv: str) -> None:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{argv[0]} {argv[1]}: {done.stderr.strip()}")


def module_dir() -> Path:
    """Return the directory with the modules that were built for this kernel. If there is none, the test fails."""
    directory = os.environ.get(MODULE_DIR_VARIABLE)
    if directory is None:
        pytest.fail(
            "no modules were built for this test, because vm_modules is not set in pytest's configuration"
        )
    return Path(directory)


@pytest.fixture(scope="session")
def vm_kernel(request: pytest.FixtureRequest) -> str:
    """The name of the kernel that the test runs on."""
    return str(request.param)


@pytest.fixture
def vm_modules() -> Iterator[VmModules]:
    """The project's modules. Modules that the test loads are unloaded after it."""
    modules = VmModules(module_dir())
    yield modules
    modules.unload_all()
