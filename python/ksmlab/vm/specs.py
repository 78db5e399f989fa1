"""Read the descriptions of kernels in kernels.toml, and locate the files of a cached kernel."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError
from ksmlab.vm.failures import cause

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class KernelSpec:
    """The description of a kernel: one table of kernels.toml, whose opening comment explains the fields.

    `fragments` are the paths of the files.
    """

    name: str
    series: str
    flavour: str
    packages: tuple[str, ...] = ()
    pin: str | None = None
    tested: bool = False
    boot: tuple[str, ...] = ()
    source: str | None = None
    fragments: tuple[Path, ...] = ()
    cpu_minutes: float = 0
    slow: float = 1.0
    memory: str | None = None

    @property
    def series_key(self) -> tuple[int, ...]:
        """The series as numbers, for comparison: the newer kernel has the greater key."""
        return tuple(map(int, re.findall(r"\d+", self.series)))

    @property
    def built(self) -> bool:
        """Whether the kernel is built from source, rather than fetched as a package."""
        return self.source is not None

    def matches(self, release: str) -> bool:
        """Return whether a kernel release, such as 6.12.117+deb12-amd64, has this series and flavour."""
        return self.of_series(release) and release.endswith(f"-{self.flavour}")

    def of_series(self, version: str) -> bool:
        """Return whether a version belongs to the series."""
        return re.match(rf"{re.escape(self.series)}(?!\d)", version) is not None


@dataclass(frozen=True)
class Kernel:
    """A kernel in the cache, ready to be booted and to build modules for.

    Attributes:
        spec: Its description in kernels.toml.
        release: Its release, as printed by `uname -r`.
        version: The version of the package that it comes from.
        root: Its directory in the cache, which has the layout of the distribution's packages.
    """

    spec: KernelSpec
    release: str
    version: str
    root: Path

    @property
    def name(self) -> str:
        """The name in kernels.toml."""
        return self.spec.name

    @property
    def image(self) -> Path:
        """The bootable image."""
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def config(self) -> Path:
        """The configuration file that it was built with."""
        return self.root / "boot" / f"config-{self.release}"

    @property
    def system_map(self) -> Path:
        """The System.map file, with the addresses of the kernel's symbols."""
        return self.root / "boot" / f"System.map-{self.release}"

    @property
    def vmlinux(self) -> Path:
        """The image with symbols, for gdb; only kernels built from source have one."""
        return self.root / "boot" / f"vmlinux-{self.release}"

    @property
    def modules_dir(self) -> Path:
        """The directory of the kernel's own modules, in the layout that modprobe expects."""
        return self.root / "lib/modules" / self.release

    @property
    def build_dir(self) -> Path:
        """The directory to build modules against, for `make -C`."""
        return self.root / "usr/src" / f"linux-headers-{self.release}"


def load_specs(path: Path) -> dict[str, KernelSpec]:
    """Read the descriptions of kernels, by name.

    Args:
        path: The file kernels.toml.

    Raises:
        VmError: The file cannot be read or is not valid TOML, or a table lacks a field or has an unknown one.
    """
    hint = "Correct the table. The comment at the top of vm/kernels.toml describes the fields."
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise VmError(
            f"The descriptions of the kernels cannot be read from {path}: {cause(error)}.",
            untouched="No kernel was changed.",
            hint="Use a file that has a table for each kernel, as vm/kernels.toml has.",
        ) from error
    specs = {}
    for name, table in tables.items():
        lists = {key: tuple(table[key]) for key in ("packages", "boot") if key in table}
        files = [path.parent / "kconfig" / f"{each}.config" for each in table.get("fragments", ())]
        try:
            spec = KernelSpec(**{"name": name, **table, **lists, "fragments": tuple(files)})
        except TypeError as error:
            raise VmError(f"{path}: the table {name} is not valid: {error}.", hint=hint) from error
        if bool(spec.packages) == bool(spec.source):
            raise VmError(
                f"{path}: the table {name} must have either packages or a source.", hint=hint
            )
        specs[name] = spec
    return specs
