"""Load and unload the driver in tests."""

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
#: The number of references to the driver's module: one for each open descriptor, and one for each module that uses it.
REFERENCES = Path("/sys/module/ksm/refcnt")


def kernel_has_ksm() -> bool:
    """Return whether the kernel has its own KSM, even while our driver has taken over its directory.

    Only such a kernel has the counter cow_ksm in /proc/vmstat.
    """
    return "\ncow_ksm " in Path("/proc/vmstat").read_text()


def kernels_own_ksm() -> Path:
    """Return the sysfs directory of in-kernel KSM. Skip the test if the kernel has none."""
    need("in-kernel KSM", kernel_has_ksm(), "CONFIG_KSM")
    return MM_KSM


class Modules(VmModules):
    """The modules ksm and ksm_lab, built for this kernel.

    Args:
        directory: The directory with the .ko files.
        index: The index with which the driver is loaded, unless a test sets it; None for the driver's default.
    """

    def __init__(self, directory: Path, index: str | None = None) -> None:
        """Do not load anything yet."""
        super().__init__(directory)
        self._index = index

    def load(self, name: str, *parameters: str) -> None:
        """Load a module with insmod, the driver with the index that was chosen."""
        if (
            name == "ksm"
            and self._index
            and not any(each.startswith("index=") for each in parameters)
        ):
            parameters += (f"index={self._index}",)
        super().load(name, *parameters)

    @staticmethod
    def loaded() -> list[str]:
        """Return the names of the modules that are loaded, in the order in which they were loaded."""
        return [module.name for module in MODULES if Path("/sys/module", module.name).is_dir()]

    def load_usual(self, *names: str) -> None:
        """Load modules with their usual parameters; both modules if no name is given."""
        for module in MODULES:
            if not names or module.name in names:
                self.load(module.name, *module.parameters)

    def unload_all(self) -> None:
        """Unload all loaded modules, the last one first, including those that the test has not loaded.

        Raises:
            RuntimeError: rmmod failed; the text has its message.
        """
        for name in reversed(self.loaded()):
            self.unload(name)

    @contextlib.contextmanager
    def without(self) -> Iterator[None]:
        """Unload all modules during the block, and load them with their usual parameters afterwards."""
        self.unload_all()
        try:
            yield
        finally:
            self.unload_all()
            self.load_usual()
