"""Fetch kernel sources from linux-source packages of the archive; the cache keeps them as compressed tar files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.vm.errors import FetchError
from ksmlab.vm.failures import UNTOUCHED
from ksmlab.vm.lock import file_lock
from ksmlab.vm.shelf import put, scratch
from ksmlab.vm.versions import version_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ksmlab.vm.apt import PrivateApt

    Report = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """A kernel's sources.

    Attributes:
        name: The name of the package, such as linux-source-6.1, and of the directory in the tar file.
        version: The version of the package.
        tar: The compressed tar file.
    """

    name: str
    version: str
    tar: Path


def find_source(cache: Path, name: str, pin: str | None = None) -> Source | None:
    """Return the newest cached sources of a package, or those of version `pin`; None if there are none."""
    tars = [
        tar
        for tar in (cache / "sources" / name).glob(f"[!.]*/{name}.tar.xz")
        if pin in (None, tar.parent.name)
    ]
    if not tars:
        return None
    newest = max(tars, key=lambda tar: version_key(tar.parent.name))
    return Source(name, newest.parent.name, newest)


def fetch_source(
    cache: Path, apt: PrivateApt, name: str, pin: str | None, report: Report, *, on_wait: Callable[[], None]
) -> Source | None:  # fmt: skip
    """Fetch the newest revision of a source package, unless it is cached.

    Args:
        cache: The root of the cache.
        apt: The apt to fetch with.
        name: The name of the package.
        pin: The exact version to fetch, instead of the newest.
        report: Called with a line for each step.
        on_wait: Called once if another process is fetching.

    Returns:
        The sources, or None if the archive has no such package.

    Raises:
        FetchError: The sources cannot be fetched; the cache is unchanged.
    """
    shelf = cache / "sources" / name
    with file_lock(cache / "fetch.lock", on_wait=on_wait):
        report(f"asking the archive for {name}")
        apt.update(report)
        package = apt.show(name, pin)
        if package is None:
            return None
        found = find_source(cache, name, package.version)
        if found is not None:
            return found
        report(f"fetching {name} {package.version} ({package.size / 1e6:.0f} MB)")
        with scratch(shelf) as made:
            root = made / "root"
            apt.unpack(package, root)
            packed = root / "usr/src" / f"{name}.tar.xz"
            if not packed.is_file():
                raise FetchError(
                    f"The package {name} {package.version} does not contain {packed.name}.",
                    untouched=UNTOUCHED,
                    hint="The distribution has changed its packages: adapt python/ksmlab/vm/source.py.",
                )
            place = root.parent / package.version
            place.mkdir()
            packed.rename(place / packed.name)
            put(place, shelf / package.version)
    return Source(name, package.version, shelf / package.version / f"{name}.tar.xz")
