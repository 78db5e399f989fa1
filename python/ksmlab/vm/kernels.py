"""Find kernels by name in a private cache; fetch them from the host's archive, or build them from its sources.

An entry of the cache is never modified, so the kernel of a running VM does not change.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.doctor import ELSEWHERE
from ksmlab.vm.apt import PrivateApt, host_codename
from ksmlab.vm.errors import FetchError, VmError
from ksmlab.vm.failures import UNTOUCHED, fetch_errors
from ksmlab.vm.fetch import ENTRY, fetch_scripts, find_image, make_kernel
from ksmlab.vm.kernel_build import build_kernel, estimate, recipe, say_seconds
from ksmlab.vm.lock import file_lock
from ksmlab.vm.path_checks import MEBIBYTE, check_writable
from ksmlab.vm.shelf import scratch
from ksmlab.vm.source import fetch_source, find_source
from ksmlab.vm.specs import Kernel, KernelSpec, load_specs
from ksmlab.vm.versions import version_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Report = Callable[[str], None]

__all__ = ["Kernel", "KernelSpec", "KernelStore", "cache_root", "load_specs"]

FETCH_LOCK = "fetch.lock"
WAITING = "waiting for another process that is fetching"
BUILDING = "waiting for another process that is building this kernel"
# Longer than any build takes.
BUILD_LOCK_SECONDS = 4 * 3600
#: The package lists need 90 MiB, the unpacked packages of a kernel 490 MiB, a linux-source package 130 MiB and the tar
#: file in it the same again, and the tree of a kernel that is built from source 2 GiB.
LISTS_BYTES = 150 * MEBIBYTE
FETCH_BYTES = LISTS_BYTES + 600 * MEBIBYTE
SOURCE_BYTES = LISTS_BYTES + 300 * MEBIBYTE
BUILD_BYTES = SOURCE_BYTES + 3072 * MEBIBYTE


def cache_root() -> Path:
    """Return the root of the cache: $KSMLAB_CACHE if that is set, or ksmlab in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("KSMLAB_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ksmlab"


class KernelStore:
    """The kernels of one kernels.toml, in one cache.

    Several processes may use one cache at once.
    """

    def __init__(self, specs: dict[str, KernelSpec], cache: Path) -> None:
        """Use a cache for these kernels. Nothing is read or fetched yet.

        Args:
            specs: The result of `load_specs`.
            cache: The root of the cache, as returned by `cache_root`.
        """
        self.specs = specs
        self.cache = cache
        self._apt: PrivateApt | None = None

    def spec(self, name: str) -> KernelSpec:
        """Return the description of a kernel.

        Raises:
            VmError: There is no kernel of this name.
        """
        try:
            return self.specs[name]
        except KeyError:
            raise VmError(
                f"There is no kernel called {name}.",
                untouched="Nothing was fetched, built, or booted.",
                hint=f"Use one of these: {', '.join(sorted(self.specs))}.",
            ) from None

    def find(self, name: str) -> Kernel | None:
        """Return the newest cache entry of a kernel that may be used, or None if there is none.

        If the version is pinned, only that version may be used. A kernel that was built from source may be used only if
        it was built with the current fragments and compiler.
        """
        return self._find(self.spec(name), self.spec(name).pin)

    def _find(self, spec: KernelSpec, version: str | None) -> Kernel | None:
        """Return the newest entry of a kernel that may be used, of a certain version unless `version` is None."""
        wanted = recipe(spec) if spec.built else None
        entries = self._entries(spec)
        found = (
            kernel
            for kernel, made_by in entries
            if version in (None, kernel.version) and made_by == wanted
        )
        return next(found, None)

    def get(self, name: str, report: Report = print) -> Kernel:
        """Return the kernel of that name; fetch or build it if it is not cached.

        Raises:
            VmError: The kernel cannot be fetched or built.
        """
        found = self.find(name)
        if found is not None:
            return found
        if self.spec(name).built:
            return self.build(name, report, refresh=False)
        return self.fetch(name, report, refresh=False)

    @property
    def tested(self) -> list[str]:
        """The names of the distribution's kernels that the tests pass on, the newest first."""
        specs = [spec for spec in self.specs.values() if spec.tested and not spec.built]
        return [spec.name for spec in sorted(specs, key=lambda each: each.series_key, reverse=True)]

    def choose(self, names: Sequence[str], report: Report = print) -> str:
        """Return the first of these kernels that is cached or that the archive has.

        A kernel that would have to be built is chosen only if none of the others is available. The archive is queried
        only for names that precede the first cached one.

        Args:
            names: The names in the order of preference; not empty.
            report: Called when the archive is queried, or if it cannot be queried and a cached kernel is used instead.

        Raises:
            VmError: None of them is available.
        """
        for name in names:
            if self.find(name) is not None:
                return name
            if self.spec(name).built:
                continue
            try:
                if self.offers(name, report):
                    return name
            except VmError as error:
                cached = next((other for other in names if self.find(other) is not None), None)
                if cached is None:
                    raise
                report(f"{cached} is used instead of {name}: {error.what}")
                return cached
        for name in names:
            if self.spec(name).built:
                return name
        with self._archive(report) as apt:
            raise self._missing(apt, *map(self.spec, names))

    def offers(self, name: str, report: Report = print) -> bool:
        """Return whether the archive has a kernel, or the sources of one that is built from source.

        Raises:
            FetchError: The archive cannot be queried.
        """
        with self._archive(report) as apt:
            return self._offers(apt, self.spec(name))

    def available(self, names: Sequence[str], report: Report = print) -> list[str]:
        """Return the kernels in `names` that are cached or that the archive has, and report each of the others.

        Raises:
            VmError: None of them is available, or one is not cached and the archive cannot be queried.
        """
        found = []
        for name in names:
            if self.find(name) is not None or self.offers(name, report):
                found.append(name)
                continue
            with self._archive(report) as apt:
                report(f"left out: {self._missing(apt, self.spec(name)).what}")
        if not found:
            with self._archive(report) as apt:
                raise self._missing(apt, *map(self.spec, names))
        return found

    @contextlib.contextmanager
    def _archive(self, report: Report) -> Iterator[PrivateApt]:
        """Hold the fetch lock during the block, with an apt whose package lists this process has updated."""
        with (
            fetch_errors("Asking the archive"),
            file_lock(self.cache / FETCH_LOCK, on_wait=lambda: report(WAITING)),
        ):
            yield self._updated_apt(report)

    def _updated_apt(self, report: Report) -> PrivateApt:
        """Return an apt whose package lists this process has updated. The caller holds the fetch lock."""
        if self._apt is None:
            check_writable("kernel cache", self.cache, LISTS_BYTES)
            report("asking the archive which kernels it has")
            apt = PrivateApt(self.cache / "apt")
            apt.update(report)
            self._apt = apt
        return self._apt

    def _offers(self, apt: PrivateApt, spec: KernelSpec) -> bool:
        if spec.source is not None:
            return apt.show(spec.source, spec.pin) is not None
        return find_image(apt, spec) is not None

    def _missing(self, apt: PrivateApt, *wanted: KernelSpec) -> FetchError:
        """Return the error for kernels that the archive lacks. It names the kernels that the archive has.

        If the package lists are incomplete, it names the servers whose lists are missing instead.
        """
        first = wanted[0]
        names = ", ".join(spec.name for spec in wanted)
        if (error := apt.not_found(names)) is not None:
            return error
        packages = dict.fromkeys(
            name for spec in wanted for name in (spec.source, *spec.packages) if name is not None
        )
        versions = [package.version for package in map(apt.show, packages) if package is not None]
        if first.pin is not None:
            has = ", ".join(versions) or "none"
            return FetchError(
                f"{names} of version {first.pin} not in this archive ({host_codename()} has {has}). "
                f"Change the pin of {first.name} in vm/kernels.toml."
            )
        others = [
            spec
            for spec in self.specs.values()
            if spec.built is first.built and self._offers(apt, spec)
        ]
        series = sorted({spec.series for spec in others}, key=version_key)
        has = ", ".join(f"linux-source-{each}" if first.built else each for each in series)
        has = has or ", ".join(versions)
        usable = [spec for spec in others if spec.flavour == first.flavour]
        best = max(usable, key=lambda spec: (spec.tested, spec.series_key), default=None)
        if best is not None:
            hint = f"Use --kernel {best.name}."
        elif has:
            hint = "Use Debian 12 or 13, or describe another kernel: docs/how-to/add-a-kernel.md."
        else:
            hint = ELSEWHERE
        where = f"({host_codename()} has {has or 'no kernel of Debian'})"
        return FetchError(f"{names} not in this archive {where}. {hint}")

    def entries(self, name: str) -> list[Kernel]:
        """Return all cache entries of a kernel, including those that are no longer used, the newest first."""
        return [kernel for kernel, _ in self._entries(self.spec(name))]

    @fetch_errors("Removing a kernel")
    def remove(self, name: str, report: Report = print, *, unused: bool = False) -> int:
        """Remove the entries of a kernel from the cache, and source tar files that no remaining entry was built from.

        A running VM loses its modules if its kernel is removed.

        Args:
            name: The table in kernels.toml.
            report: Called before waiting for another process.
            unused: Keep the entry that `find` returns.

        Returns:
            The number of entries removed.
        """
        with file_lock(self._lock(self.spec(name)), on_wait=lambda: report(WAITING)):
            kept = self.find(name) if unused else None
            shelf = self._shelf(self.spec(name))
            # Include entries that cannot be read.
            roots = [path for path in shelf.glob("[!.]*") if path.is_dir()]
            gone = [root for root in roots if kept is None or root != kept.root]
            for root in gone:
                # Rename the entry first, so that no process sees a part of it.
                with scratch(shelf) as away:
                    root.rename(away / "root")
        if not unused:
            self._drop_sources(self.spec(name).source)
        return len(gone)

    def _drop_sources(self, source: str | None) -> None:
        """Remove the tar files of sources that no kernel in the cache was built from."""
        users = [spec.name for spec in self.specs.values() if spec.source == source]
        if source is not None and not any(map(self.entries, users)):
            with file_lock(self.cache / FETCH_LOCK):
                shutil.rmtree(self.cache / "sources" / source, ignore_errors=True)

    @fetch_errors("Building a kernel")
    def build(self, name: str, report: Report = print, *, refresh: bool = True) -> Kernel:
        """Build a kernel from the newest revision of its sources, unless it is cached.

        Args:
            name: The table in kernels.toml.
            report: Called with a line for each step; one of the lines is the expected time.
            refresh: Look for newer sources in the archive even if some are cached.

        Raises:
            FetchError: The archive lacks the sources, or they cannot be fetched; the cache is unchanged.
            BuildError: The build failed, or an option of a fragment is not set in the result; the cache is unchanged.
        """
        spec = self.spec(name)
        if spec.source is None:
            raise VmError(
                f"{name} is a kernel of the distribution, and is not built from source.",
                hint=f"Fetch it with:  ksmlab kernels fetch {name}",
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
                if source is None:
                    raise self._missing(apt, spec)
            if not spec.of_series(source.version):
                raise FetchError(
                    f"{name} cannot be built: {source.name} {source.version} is not Linux {spec.series}.",
                    untouched=UNTOUCHED,
                    hint=f"Correct the series or the source in the table {name} of vm/kernels.toml.",
                )
            kernel = self._find(spec, source.version)
            if kernel is not None:
                report(f"{name}: {source.version} is in the cache")
                return kernel
            cpus = os.cpu_count() or 1
            report(
                f"{name}: building {source.version} takes about {say_seconds(estimate(spec, cpus))} on {cpus} CPUs"
            )
            made_by = recipe(spec)
            place = self._shelf(spec) / f"{source.version}-{made_by}"
            return build_kernel(Kernel(spec, "", source.version, place), source, made_by, report)

    @fetch_errors("Fetching a kernel")
    def fetch(self, name: str, report: Report = print, *, refresh: bool = True) -> Kernel:
        """Fetch the newest revision of a kernel, with the headers and tools that a module build needs.

        Args:
            name: The table in kernels.toml.
            report: Called with a line for each step.
            refresh: Look for a newer revision in the archive even if one is cached.

        Raises:
            FetchError: The archive lacks the kernel, or it cannot be fetched; the cache is unchanged.
        """
        spec = self.spec(name)
        if spec.built:
            raise VmError(
                f"{name} cannot be fetched, since it is built from source.",
                hint=f"Build it with:  ksmlab kernels build {name}",
            )
        self._check_room(name, FETCH_BYTES, refresh=refresh)
        with file_lock(
            self._lock(spec),
            on_wait=lambda: report(WAITING),
        ):
            if not refresh and (kernel := self.find(name)) is not None:
                return kernel
            apt = self._updated_apt(report)
            image = find_image(apt, spec)
            if image is None:
                raise self._missing(apt, spec)
            kernel = self._find(spec, image.version)
            if kernel is not None:
                report(f"{name}: {image.version} is in the cache")
                return kernel
            place = self._shelf(spec) / image.version
            release = image.name.removeprefix("linux-image-")
            kernel = Kernel(spec, release, image.version, place)
            make_kernel(apt, kernel, image, report)
            report(f"{name}: {release} is ready")
            return kernel

    @fetch_errors("Fetching a tool")
    def tool(
        self, name: str, meta_package: str, members: Sequence[str], report: Report = print
    ) -> Path:
        """Fetch files of the kernel sources' scripts/ directory, unless they are cached.

        Args:
            name: The name of their directory in the cache.
            meta_package: The package that depends on the newest source package.
            members: The names of the files.
            report: Called with a line for each step.

        Returns:
            The directory that contains them.

        Raises:
            FetchError: The archive lacks the source package, or it cannot be fetched; the cache is unchanged.
        """
        place = self.cache / "tools" / name
        with file_lock(self.cache / FETCH_LOCK, on_wait=lambda: report(WAITING)):
            if not place.is_dir():
                check_writable("kernel cache", self.cache, SOURCE_BYTES)
                fetch_scripts(PrivateApt(self.cache / "apt"), meta_package, members, place, report)
        return place

    @fetch_errors("Reading the kernel cache")
    def _entries(self, spec: KernelSpec) -> list[tuple[Kernel, str | None]]:
        """Return all entries of a kernel, the newest version first, each with the hash of its recipe if it has one."""
        found = []
        for entry in self._shelf(spec).glob(f"[!.]*/{ENTRY}"):
            try:
                facts = json.loads(entry.read_text())
                kernel = Kernel(spec, str(facts["release"]), str(facts["version"]), entry.parent)
                key = (version_key(kernel.version), entry.stat().st_mtime)
                found.append((key, kernel, facts.get("recipe")))
            except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError):
                # Ignore an entry that is damaged or was just removed. Fetching or building it again replaces it.
                continue
        found.sort(key=lambda each: each[0], reverse=True)
        return [(kernel, made_by) for _, kernel, made_by in found]

    def _lock(self, spec: KernelSpec) -> Path:
        """Return the lock for changes to a kernel's entries: the fetch lock, or the kernel's own lock for builds."""
        return self.cache / (f"build-{spec.name}.lock" if spec.built else FETCH_LOCK)

    def _check_room(self, name: str, needed: int, *, refresh: bool) -> None:
        """Check that the cache has space for a kernel, or, if the kernel is cached, for the package lists.

        Raises:
            VmError: The cache cannot be written to, or has too little space.
        """
        here = self.find(name) is not None
        if refresh or not here:
            check_writable("kernel cache", self.cache, LISTS_BYTES if here else needed)

    def _shelf(self, spec: KernelSpec) -> Path:
        return self.cache / "kernels" / spec.name
