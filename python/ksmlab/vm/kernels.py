"""Kernels by name: found in a private cache, or fetched or built into it out of the host's own archive.

An entry of the cache is never changed once it is there, so a VM never sees its kernel change.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.apt import UNTOUCHED, PrivateApt
from ksmlab.vm.errors import FetchError, VmError
from ksmlab.vm.fetch import ENTRY, fetch_scripts, make_kernel, resolve
from ksmlab.vm.kernel_build import build_kernel, estimate, recipe, say_seconds
from ksmlab.vm.lock import file_lock
from ksmlab.vm.path_checks import MEBIBYTE, check_writable
from ksmlab.vm.shelf import scratch
from ksmlab.vm.source import fetch_source, find_source
from ksmlab.vm.specs import Kernel, KernelSpec, load_specs
from ksmlab.vm.versions import version_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Report = Callable[[str], None]

__all__ = ["Kernel", "KernelSpec", "KernelStore", "cache_root", "load_specs"]

WAITING = "another process is fetching: waiting for it"
BUILDING = "another process is building it: waiting for it"
# Longer than any build takes.
BUILD_LOCK_SECONDS = 4 * 3600
#: The package lists take 90 MiB, unpacked kernel packages 490 MiB, a linux-source package 130 MiB as it comes and as
#: much unpacked, the tree of a kernel that is built here 2 GiB.
LISTS_BYTES = 150 * MEBIBYTE
FETCH_BYTES = LISTS_BYTES + 600 * MEBIBYTE
SOURCE_BYTES = LISTS_BYTES + 300 * MEBIBYTE
BUILD_BYTES = SOURCE_BYTES + 3072 * MEBIBYTE


def cache_root() -> Path:
    """Give the directory that everything fetched goes to.

    It is $KSMLAB_CACHE, or else ksmlab under $XDG_CACHE_HOME, or else under ~/.cache.
    """
    if own := os.environ.get("KSMLAB_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ksmlab"


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
                untouched="Nothing was fetched, built, or booted.",
                hint=f"There are: {', '.join(sorted(self.specs))}.",
            ) from None

    def find(self, name: str) -> Kernel | None:
        """Give the newest entry of that name, None if there is none here.

        It is the pinned one, if the name is pinned. Of a kernel that is built here it is one that was made with today's
        fragments and compiler.
        """
        return self._find(self.spec(name), self.spec(name).pin)

    def _find(self, spec: KernelSpec, version: str | None) -> Kernel | None:
        """Give the newest entry of a table, or the one of that version, as `find` does."""
        wanted = recipe(spec) if spec.built else None
        entries = self._entries(spec)
        found = (
            kernel
            for kernel, made_by in entries
            if version in (None, kernel.version) and made_by == wanted
        )
        return next(found, None)

    def get(self, name: str, report: Report = print) -> Kernel:
        """Give the kernel of that name, fetching or building it if it is not here."""
        found = self.find(name)
        if found is not None:
            return found
        if self.spec(name).built:
            return self.build(name, report, refresh=False)
        return self.fetch(name, report, refresh=False)

    def entries(self, name: str) -> list[Kernel]:
        """Give all entries of that name, also those that are no longer used, the newest first."""
        return [kernel for kernel, _ in self._entries(self.spec(name))]

    def remove(self, name: str, report: Report = print, *, unused: bool = False) -> int:
        """Remove the entries of a kernel from the cache, and the sources that nobody needs then.

        A VM that runs one of them loses its modules.

        Args:
            name: The table in kernels.toml.
            report: Called if another process has to be waited for.
            unused: Keep the entry that `find` gives.

        Returns:
            How many were removed.
        """
        with file_lock(self._lock(self.spec(name)), on_wait=lambda: report(WAITING)):
            kept = self.find(name) if unused else None
            gone = [kernel for kernel in self.entries(name) if kernel != kept]
            for kernel in gone:
                # At once, so that nobody sees half of an entry.
                with scratch(kernel.root.parent) as away:
                    kernel.root.rename(away / "root")
        if not unused:
            self._drop_sources(self.spec(name).source)
        return len(gone)

    def _drop_sources(self, source: str | None) -> None:
        """Remove packed sources that no kernel in the cache was built from."""
        users = [spec.name for spec in self.specs.values() if spec.source == source]
        if source is not None and not any(map(self.entries, users)):
            with file_lock(self.cache / "fetch.lock"):
                shutil.rmtree(self.cache / "sources" / source, ignore_errors=True)

    def build(self, name: str, report: Report = print, *, refresh: bool = True) -> Kernel:
        """Build a kernel of the newest revision of its sources, unless that is here.

        Args:
            name: The table in kernels.toml.
            report: Called with a line for each step; one of them says how long it takes.
            refresh: Ask the archive for the newest sources even if some are here already.

        Raises:
            FetchError: The sources cannot be had; the cache is as it was.
            BuildError: It does not build, or an option did not survive; the cache is as it was.
        """
        spec = self.spec(name)
        if spec.source is None:
            raise VmError(
                f"{name} is the distribution's own build.", hint=f"ksmlab kernels fetch {name}"
            )
        self._check_room(name, BUILD_BYTES, refresh=refresh)
        with file_lock(
            self._lock(spec), timeout=BUILD_LOCK_SECONDS, on_wait=lambda: report(BUILDING)
        ):
            if not refresh and (kernel := self.find(name)) is not None:
                return kernel
            source = None if refresh else find_source(self.cache, spec.source, spec.pin)
            if source is None:
                apt = PrivateApt(self.cache / "apt")
                source = fetch_source(
                    self.cache, apt, spec.source, spec.pin, report, on_wait=lambda: report(WAITING)
                )
            if not spec.of_series(source.version):
                raise FetchError(
                    f"{source.name} {source.version} is not of the series {spec.series}.",
                    untouched=UNTOUCHED,
                    hint=f"See the table {name} in vm/kernels.toml.",
                )
            kernel = self._find(spec, source.version)
            if kernel is not None:
                report(f"{name}: {source.version} is here already")
                return kernel
            cpus = os.cpu_count() or 1
            report(
                f"{name}: building {source.version} takes about {say_seconds(estimate(spec, cpus))} on {cpus} CPUs"
            )
            made_by = recipe(spec)
            place = self._shelf(spec) / f"{source.version}-{made_by}"
            return build_kernel(Kernel(spec, "", source.version, place), source, made_by, report)

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
        if spec.built:
            raise VmError(f"{name} is built here.", hint=f"ksmlab kernels build {name}")
        self._check_room(name, FETCH_BYTES, refresh=refresh)
        with file_lock(
            self._lock(spec),
            on_wait=lambda: report(WAITING),
        ):
            if not refresh and (kernel := self.find(name)) is not None:
                return kernel
            report(f"{name}: asking the archive for the newest {spec.series} kernel")
            apt = PrivateApt(self.cache / "apt")
            apt.update()
            image = resolve(apt, spec)
            kernel = self._find(spec, image.version)
            if kernel is not None:
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
                check_writable("kernel cache", self.cache, SOURCE_BYTES)
                fetch_scripts(PrivateApt(self.cache / "apt"), meta_package, members, place, report)
        return place

    def _entries(self, spec: KernelSpec) -> list[tuple[Kernel, str | None]]:
        """Give all entries of a table, the newest version first, and the hash of what each was made by."""
        found = []
        for entry in self._shelf(spec).glob(f"[!.]*/{ENTRY}"):
            facts = json.loads(entry.read_text())
            kernel = Kernel(spec, facts["release"], facts["version"], entry.parent)
            found.append((entry.stat().st_mtime, kernel, facts.get("recipe")))
        found.sort(key=lambda each: (version_key(each[1].version), each[0]), reverse=True)
        return [(kernel, made_by) for _, kernel, made_by in found]

    def _lock(self, spec: KernelSpec) -> Path:
        """Give the lock for changing the shelf: the archive's one, or one of the shelf's own for builds."""
        return self.cache / (f"build-{spec.name}.lock" if spec.built else "fetch.lock")

    def _check_room(self, name: str, needed: int, *, refresh: bool) -> None:
        """Check that a kernel can be put into the cache; if it is there already, that the archive can be asked.

        Raises:
            VmError: The cache cannot be written to, or has too little space.
        """
        here = self.find(name) is not None
        if refresh or not here:
            check_writable("kernel cache", self.cache, LISTS_BYTES if here else needed)

    def _shelf(self, spec: KernelSpec) -> Path:
        return self.cache / "kernels" / spec.name
