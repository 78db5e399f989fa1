"""Loading and unloading the driver, for the tests that are about that."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from kernel_config import need

from ksmlab.lab import MODULES
from ksmlab.pytest_plugin.fixtures import VmModules

if TYPE_CHECKING:
    from collections.abc import Iterator


MM_KSM = Path("/sys/kernel/mm/ksm")


def kernel_has_ksm() -> bool:
    """Return whether the kernel has its own KSM, even while our driver has taken over its directory.

    Only such a kernel has the counter cow_ksm in /proc/vmstat.
    """
    return "\ncow_ksm " in Path("/proc/vmstat").read_text()


def kernels_own_ksm() -> Path:
    """Give the directory of the kernel's own KSM; the test is skipped where there is none."""
    need("KSM of its own", kernel_has_ksm(), "CONFIG_KSM")
    return MM_KSM


class Modules(VmModules):
    """The driver and its laboratory, as they were built for this kernel.

    Args:
        directory: Where the .ko files are.
        index: The index that the driver is loaded with, unless a test says otherwise; its own choice if None.
    """

    def __init__(self, directory: Path, index: str | None = None) -> None:
        """Keep both; nothing is loaded."""
        super().__init__(directory)
        self._index = index

    def load(self, name: str, *parameters: str) -> None:
        """Load a module, as insmod does."""
        if (
            name == "ksm"
            and self._index
            and not any(each.startswith("index=") for each in parameters)
        ):
            parameters += (f"index={self._index}",)
        super().load(name, *parameters)

    @staticmethod
    def loaded() -> list[str]:
        """Give the names of our modules that are loaded, in the order of their loading."""
        return [module.name for module in MODULES if Path("/sys/module", module.name).is_dir()]

    def load_usual(self, *names: str) -> None:
        """Load modules, each with its usual parameters; all of them if none is named."""
        for module in MODULES:
            if not names or module.name in names:
                self.load(module.name, *module.parameters)

    def unload_all(self) -> None:
        """Unload all of our modules that are loaded, the last one first, also those that the test did not load.

        Raises:
            RuntimeError: The kernel refused to unload one; the text is the message of rmmod.
        """
        for name in reversed(self.loaded()):
            self.unload(name)

    @contextlib.contextmanager
    def without(self) -> Iterator[None]:
        """Have none of them loaded in the block, and all of them after it."""
        self.unload_all()
        try:
            yield
        finally:
            self.unload_all()
            self.load_usual()
