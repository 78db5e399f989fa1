"""apt with an archive in memory, for tests of the kernel cache."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ksmlab.vm import kernels as kernels_module
from ksmlab.vm.apt import Package, PrivateApt
from ksmlab.vm.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


class FakeApt:
    """An archive in memory; unpacking makes the few files that a kernel needs."""

    def __init__(
        self, packages: list[Package], broken: str = "", modules: str = "lib/modules"
    ) -> None:
        self.modules = modules
        self.packages = {package.name: package for package in packages}
        self.broken = broken
        self.updates = 0
        self.unreachable = False
        self.incomplete: FetchError | None = None

    def update(self, _report: Callable[[str], None]) -> None:
        self.updates += 1
        if self.unreachable:
            raise FetchError("The package lists of x could not be downloaded.")

    not_found = PrivateApt.not_found

    def show(self, name: str, version: str | None = None) -> Package | None:
        package = self.packages.get(name)
        return package if package and version in (None, package.version) else None

    def unpack(self, package: Package, root: Path) -> None:
        if package.name == self.broken:
            raise FetchError("broken download")
        release = package.name.split("-", 2)[-1]
        modules = root / self.modules / release
        if package.name.startswith(("linux-image-6", "linux-binary-", "linux-modules-")):
            modules.mkdir(parents=True, exist_ok=True)
        if package.name.startswith("linux-image-6"):
            (root / "boot").mkdir()
            (root / f"boot/vmlinuz-{release}").touch()
            (root / f"boot/config-{release}").touch()
        elif package.name.startswith("linux-binary-"):
            (modules / "vmlinuz").touch()
        elif package.name.startswith("linux-modules-"):
            (modules / "config").touch()
            (modules / "System.map").touch()
        elif package.name == f"linux-headers-{release}" and not release.endswith("-common"):
            common = f"linux-headers-{release.removesuffix('amd64')}common"
            headers = root / "usr/src" / package.name
            headers.mkdir(parents=True)
            output = f"KBUILD_OUTPUT=/usr/src/{package.name}\n" if release.startswith("7") else ""
            (headers / "Makefile").write_text(f"{output}include /usr/src/{common}/Makefile\n")
            # As the packages have it: a link that leads out of the entry.
            modules.mkdir(parents=True, exist_ok=True)
            (modules / "build").symlink_to(f"/usr/src/{package.name}")
        elif release.endswith("-common"):
            headers = root / "usr/src" / package.name
            headers.mkdir(parents=True)
            (headers / "Makefile").write_text("all:\n\t@echo output=$(KBUILD_OUTPUT)\n")


def archive(version: str = "6.1.5-1", release: str = "6.1.0-9-amd64") -> list[Package]:
    common = f"linux-headers-{release.removesuffix('amd64')}common"
    parts = ("linux-binary", "linux-modules") if release.startswith("7") else ()
    return [
        Package("linux-image-amd64", version, (f"linux-image-{release}",), 1),
        Package(
            f"linux-image-{release}", version, ("kmod", *(f"{each}-{release}" for each in parts)), 1
        ),
        *(Package(f"{each}-{release}", version, (), 1) for each in parts),
        Package(f"linux-headers-{release}", version, (common,), 1),
        Package(common, version, (), 1),
    ]


#: Kernels of three archives, as Debian's releases have them.
BOOKWORM = [
    *archive("6.1.192-2", "6.1.0-56-amd64"),
    *(
        dataclasses.replace(package, name="linux-image-6.12-amd64")
        if package.name == "linux-image-amd64"
        else package
        for package in archive("6.12.117-1~deb12u1", "6.12.117+deb12-amd64")
    ),
    Package("linux-source-6.1", "6.1.192-2", (), 1),
]
TRIXIE = [
    *archive("6.12.118-1", "6.12.118+deb13-amd64"),
    Package("linux-source-6.12", "6.12.118-1", (), 1),
]
FORKY = archive("7.3.4-1", "7.3.4+deb14-amd64")


def use(monkeypatch: pytest.MonkeyPatch, apt: FakeApt) -> FakeApt:
    monkeypatch.setattr(kernels_module, "PrivateApt", lambda _home: apt)
    return apt
