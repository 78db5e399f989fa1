"""Kernels by name: found in a private cache, or fetched into it from the host's own archive.

An entry of the cache is never changed once it is there: it is made beside its place, and renamed into it when it is
whole. So a broken download never becomes an entry, and a VM never sees its kernel change.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.apt import Package, PrivateApt
from ksmlab.vm.errors import FetchError, VmError
from ksmlab.vm.lock import file_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    Report = Callable[[str], None]

ENTRY = "kernel.json"
DEPMOD_SECONDS = 300


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
            on_wait=lambda: report("another process is fetching: waiting for it"),
        ):
            kernel = self.find(name)
            if kernel is not None and not refresh:
                return kernel
            report(f"{name}: asking the archive for the newest {spec.series} kernel")
            apt = PrivateApt(self.cache / "apt")
            apt.update()
            image = self._resolve(apt, spec)
            if kernel is not None and kernel.version == image.version:
                report(f"{name}: {image.version} is here already")
                return kernel
            return self._make(apt, spec, image, report)

    def tool(
        self, package_name: str, member: str, unpack: Callable[[Path], Path], report: Report = print
    ) -> Path:
        """Fetch one file out of a package of the archive, once.

        Args:
            package_name: The package.
            member: Which of its members to unpack, as a tar pattern.
            unpack: Is given the directory with the member, gives the path of what is wanted under it.
            report: Called with a line for each step.

        Raises:
            FetchError: It cannot be had.
        """
        place = self.cache / "tools" / package_name
        with file_lock(
            self.cache / "fetch.lock",
            on_wait=lambda: report("another process is fetching: waiting for it"),
        ):
            if not place.is_dir():
                report(f"fetching {package_name}")
                apt = PrivateApt(self.cache / "apt")
                apt.update()
                package = apt.show(package_name)
                if package is None:
                    raise FetchError(
                        f"The archive has no {package_name}.", untouched="Nothing was fetched."
                    )
                place.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=place.parent, prefix=".tmp-") as scratch:
                    apt.unpack(package, Path(scratch) / "root", only=member)
                    unpack(Path(scratch) / "root")
                    (Path(scratch) / "root").rename(place)
        return place

    def _shelf(self, spec: KernelSpec) -> Path:
        return self.cache / "kernels" / spec.name

    def _resolve(self, apt: PrivateApt, spec: KernelSpec) -> Package:
        seen = []
        for name in spec.packages:
            package = apt.show(name, spec.pin)
            if package is None:
                continue
            images = [package.name, *package.depends]
            seen.append(f"{name} {package.version}")
            for image in images:
                if image.startswith("linux-image-") and spec.matches(
                    image.removeprefix("linux-image-")
                ):
                    real = package if image == package.name else apt.show(image, package.version)
                    if real is not None and not any(
                        d.startswith("linux-image-") for d in real.depends
                    ):
                        return real
        raise FetchError(
            f"The archive has no {spec.series} kernel ({'there is: ' + ', '.join(seen) if seen else 'none at all'}).",
            untouched="Nothing was fetched; the kernels that were there before are as they were.",
            hint=f"{spec.name} comes with another release of Debian, or its pin is no longer in the archive; "
            "see vm/kernels.toml.",
        )

    def _make(self, apt: PrivateApt, spec: KernelSpec, image: Package, report: Report) -> Kernel:
        release = image.name.removeprefix("linux-image-")
        headers = apt.show(f"linux-headers-{release}", image.version)
        if headers is None:
            raise FetchError(
                f"The archive has no headers for {release}.", untouched="Nothing was fetched."
            )
        rest = [
            package
            for name in headers.depends
            if re.match(r"linux-(headers-.*-common|kbuild-)", name)
            and (package := apt.show(name)) is not None
        ]
        shelf = self._shelf(spec)
        shelf.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf, prefix=".tmp-") as scratch:
            root = Path(scratch) / "root"
            for package in (image, headers, *rest):
                report(
                    f"{spec.name}: fetching {package.name} {package.version} ({package.size / 1e6:.0f} MB)"
                )
                apt.unpack(package, root)
            place = shelf / image.version
            kernel = Kernel(spec, release, image.version, root)
            report(f"{spec.name}: preparing")
            self._prepare(kernel)
            facts = {"release": release, "version": image.version}
            (root / ENTRY).write_text(json.dumps(facts, indent=1) + "\n")
            if place.exists():
                shutil.rmtree(place)
            root.rename(place)
        report(f"{spec.name}: {release} is ready")
        return Kernel(spec, release, image.version, place)

    @staticmethod
    def _prepare(kernel: Kernel) -> None:
        """Make unpacked packages usable where they are: relocate the headers, index the modules."""
        makefile = kernel.build_dir / "Makefile"
        text, count = re.subn(
            r"^include /usr/src/(\S+)/Makefile$",
            r"include $(dir $(lastword $(MAKEFILE_LIST)))../\1/Makefile",
            makefile.read_text(),
            flags=re.MULTILINE,
        )
        if count != 1:
            raise FetchError(
                f"{makefile.name} of {kernel.build_dir.name} has an unknown form, so the headers cannot be relocated.",
                untouched="The kernels that were there before are as they were.",
                hint="The distribution changed its packages: see _prepare() in python/ksmlab/vm/kernels.py.",
            )
        makefile.write_text(text)
        # The links to /usr/src point outside of the entry.
        for link in ("build", "source"):
            (kernel.modules_dir / link).unlink(missing_ok=True)
        (kernel.modules_dir / "build").symlink_to(
            os.path.relpath(kernel.build_dir, kernel.modules_dir)
        )
        depmod = shutil.which("depmod", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if depmod is None:
            raise FetchError(
                "depmod is not here.", untouched="Nothing was fetched.", hint="apt-get install kmod"
            )
        done = subprocess.run(
            [depmod, "-b", str(kernel.root), kernel.release],
            capture_output=True, text=True, check=False, timeout=DEPMOD_SECONDS,
        )  # fmt: skip
        if done.returncode or not kernel.image.is_file():
            raise FetchError(
                f"The packages of {kernel.release} do not make a whole kernel.",
                untouched="The kernels that were there before are as they were.",
                log=done.stderr,
            )
