"""What kernels.toml says of a kernel, and where the parts of one are that is here."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class KernelSpec:
    """One table of kernels.toml; the file itself explains the fields. `fragments` are the files."""

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
        """The series as numbers: of two specs, the greater key is the newer kernel."""
        return tuple(map(int, re.findall(r"\d+", self.series)))

    @property
    def built(self) -> bool:
        """Whether it is built here, and not fetched."""
        return self.source is not None

    def matches(self, release: str) -> bool:
        """Say whether a kernel release such as 6.12.117+deb12-amd64 is one that this table stands for."""
        return self.of_series(release) and release.endswith(f"-{self.flavour}")

    def of_series(self, version: str) -> bool:
        """Say whether a version is one of the series."""
        return re.match(rf"{re.escape(self.series)}(?!\d)", version) is not None


@dataclass(frozen=True)
class Kernel:
    """A kernel that is here, ready to boot and to build for.

    Attributes:
        spec: The table that it was fetched for.
        release: What `uname -r` says in the guest.
        version: The version of the package that it comes from.
        root: The directory that holds it, laid out as the distribution's packages are.
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
        """The configuration that it was built with."""
        return self.root / "boot" / f"config-{self.release}"

    @property
    def system_map(self) -> Path:
        """The addresses of its symbols."""
        return self.root / "boot" / f"System.map-{self.release}"

    @property
    def vmlinux(self) -> Path:
        """The image as gdb wants it; only kernels that are built here have one."""
        return self.root / "boot" / f"vmlinux-{self.release}"

    @property
    def modules_dir(self) -> Path:
        """The kernel's own modules, as modprobe wants them."""
        return self.root / "lib/modules" / self.release

    @property
    def build_dir(self) -> Path:
        """The directory to build modules against, what `make -C` takes."""
        return self.root / "usr/src" / f"linux-headers-{self.release}"


def load_specs(path: Path) -> dict[str, KernelSpec]:
    """Read kernels.toml.

    Raises:
        VmError: It is not there or no TOML; a table lacks a field, or has one that is not known.
    """
    hint = "The file's own head says what a table has."
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise VmError(
            f"{path}, which describes kernels, cannot be read: {what}.",
            untouched="Every kernel is as it was.",
            hint="It has a table for each kernel: give the file that does.",
        ) from error
    specs = {}
    for name, table in tables.items():
        lists = {key: tuple(table[key]) for key in ("packages", "boot") if key in table}
        files = [path.parent / "kconfig" / f"{each}.config" for each in table.get("fragments", ())]
        try:
            spec = KernelSpec(**{"name": name, **table, **lists, "fragments": tuple(files)})
        except TypeError as error:
            raise VmError(f"{path}: table {name}: {error}.", hint=hint) from error
        if bool(spec.packages) == bool(spec.source):
            raise VmError(f"{path}: table {name}: it needs packages, or a source.", hint=hint)
        specs[name] = spec
    return specs
