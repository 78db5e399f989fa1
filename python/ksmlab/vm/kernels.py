"""Kernels by name: found in a private cache, or fetched into it from the host's own archive.

An entry of the cache is never changed once it is there, so a VM never sees its kernel change.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.apt import PrivateApt
from ksmlab.vm.errors import VmError
from ksmlab.vm.fetch import ENTRY, fetch_scripts, make_kernel, resolve
from ksmlab.vm.lock import file_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Report = Callable[[str], None]

WAITING = "another process is fetching: waiting for it"


def cache_root() -> Path:
    """Give the directory that everything fetched goes to.

    It is $KSMLAB_CACHE, or else ksmlab under $XDG_CACHE_HOME, or else under ~/.cache.
    """
    if own := os.environ.get("KSMLAB_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ksmlab"


@dataclass(frozen=True)
class KernelSpec:
    """One table of kernels.toml; the file itself explains the fields."""

    name: str
    series: str
    flavour: str
    packages: tuple[str, ...]
    pin: str | None = None
    boot: tuple[str, ...] = ()

    def matches(self, release: str) -> bool:
        """Say whether a kernel release such as 6.12.117+deb12-amd64 is one that this table stands for."""
        return re.match(
            rf"{re.escape(self.series)}(?!\d)", release
        ) is not None and release.endswith(f"-{self.flavour}")


@dataclass(frozen=True)
class Kernel:
    """A kernel that is here, ready to boot and to build for.

    Attributes:
        spec: The table that it was fetched for.
        release: What `uname -r` says in the guest.
        version: The version of the package that it comes from.
        root: The directory that the packages are unpacked in.
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
        VmError: A table lacks a field, or has one that is not known.
    """
    specs = {}
    for name, table in tomllib.loads(path.read_text()).items():
        lists = {key: tuple(table[key]) for key in ("packages", "boot") if key in table}
        try:
            specs[name] = KernelSpec(**{"name": name, **table, **lists})
        except TypeError as error:
            raise VmError(
                f"{path}: table {name}: {error}.", hint="The file's own head says what a table has."
            ) from error
    return specs


class KernelStore:
    """The kernels of one kernels.toml, in one cache.

    Several processes may use one cache at once.
    """

    def __init__(self, specs: dict[str, KernelSpec], cache: Path) -> None:
        """Keep both; nothing is read or fetched yet.

        Args:
            specs: What `load_specs` gave.
            cache: What `cache_root` gave.
        """
        self.specs = specs
        self.cache = cache

    def spec(self, name: str) -> KernelSpec:
        """Give the table of that name.

        Raises:
            VmError: There is none.
        """
        try:
            return self.specs[name]
        except KeyError:
            raise VmError(
                f"There is no kernel called {name}.",
                hint=f"There are: {', '.join(sorted(self.specs))}.",
            ) from None

    def find(self, name: str) -> Kernel | None:
        """Give the newest entry of that name (the pinned one, if it is pinned), None if there is none here."""
        spec = self.spec(name)
        found = []
        for entry in self._shelf(spec).glob(f"*/{ENTRY}"):
            facts = json.loads(entry.read_text())
            if spec.pin in (None, facts["version"]):
                kernel = Kernel(spec, facts["release"], facts["version"], entry.parent)
                found.append((entry.stat().st_mtime, kernel))
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def get(self, name: str, report: Report = print) -> Kernel:
        """Give the kernel of that name, fetching it if it is not here."""
        return self.find(name) or self.fetch(name, report, refresh=False)

    def fetch(self, name: str, report: Report = print, *, refresh: bool = True) -> Kernel:
        """Fetch the newest revision of a kernel, with what is needed to build modules for it.

        Args:
            name: The table in kernels.toml.
            report: Called with a line for each step.
            refresh: Ask the archive even if an entry is here already.

        Raises:
            FetchError: It cannot be had; the cache is as it was.
        """
        spec = self.spec(name)
        with file_lock(
            self.cache / "fetch.lock",
            on_wait=lambda: report(WAITING),
        ):
            kernel = self.find(name)
            if kernel is not None and not refresh:
                return kernel
            report(f"{name}: asking the archive for the newest {spec.series} kernel")
            apt = PrivateApt(self.cache / "apt")
            apt.update()
            image = resolve(apt, spec)
            if kernel is not None and kernel.version == image.version:
                report(f"{name}: {image.version} is here already")
                return kernel
            place = self._shelf(spec) / image.version
            release = image.name.removeprefix("linux-image-")
            kernel = Kernel(spec, release, image.version, place)
            make_kernel(apt, kernel, image, report)
            report(f"{name}: {release} is ready")
            return kernel

    def tool(
        self, name: str, meta_package: str, members: Sequence[str], report: Report = print
    ) -> Path:
        """Fetch a few files out of the kernel's source package, once.

        Args:
            name: What they are kept as.
            meta_package: The package that depends on the newest source package.
            members: Their names in the sources' directory scripts/; others of scripts/ come with them.
            report: Called with a line for each step.

        Returns:
            The directory that holds them.

        Raises:
            FetchError: They cannot be had; the cache is as it was.
        """
        place = self.cache / "tools" / name
        with file_lock(self.cache / "fetch.lock", on_wait=lambda: report(WAITING)):
            if not place.is_dir():
                fetch_scripts(PrivateApt(self.cache / "apt"), meta_package, members, place, report)
        return place

    def _shelf(self, spec: KernelSpec) -> Path:
        return self.cache / "kernels" / spec.name
