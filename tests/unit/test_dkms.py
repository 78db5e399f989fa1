"""kernel/dkms.conf says what the tree says: modules, version, kernels."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KERNEL = ROOT / "kernel"


def setting(name: str) -> str:
    """Give a setting as DKMS reads it: the file is a script."""
    argv = ["bash", "-c", '. "$1"; printf %s "${!2}"', "dkms", str(KERNEL / "dkms.conf"), name]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def modules() -> dict[str, str]:
    """Give the modules that Kbuild builds, each with its directory."""
    return {
        found: str(path.parent.relative_to(KERNEL))
        for path in KERNEL.rglob("Kbuild")
        for found in re.findall(r"^obj-m \+= (\w+)\.o$", path.read_text(), re.MULTILINE)
    }


def test_every_module_is_installed_from_where_it_is_built() -> None:
    built = {}
    for number in range(len(modules())):
        name = setting(f"BUILT_MODULE_NAME[{number}]")
        built[name] = setting(f"BUILT_MODULE_LOCATION[{number}]") or "."
        assert setting(f"DEST_MODULE_LOCATION[{number}]")
    assert built == modules()
    assert not setting(f"BUILT_MODULE_NAME[{len(built)}]")


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert setting("PACKAGE_VERSION") == project["version"]
    page = (ROOT / "docs/how-to/install.md").read_text()
    named = set(re.findall(r"devksm[-/](\d[\d.]*\d)", page))
    assert named == {project["version"]}


def test_it_is_built_for_the_kernels_that_compat_h_takes() -> None:
    versions = re.findall(
        r"^#define KSM_KERNEL_(\d+)_(\d+)", (KERNEL / "compat.h").read_text(), re.MULTILINE
    )
    assert versions
    pattern = setting("BUILD_EXCLUSIVE_KERNEL")
    for major, minor in versions:
        assert re.search(pattern, f"{major}.{minor}.0-1-amd64")
        assert not re.search(pattern, f"{major}.{minor}9.0-1-amd64")
    assert pattern.count("|") == len(versions) - 1


def test_no_pahole_is_needed() -> None:
    """Headers of the distribution can want one, and do not bring it."""
    make = ["make", "-n", "-C", str(KERNEL), "KDIR=/nowhere", "modules"]
    said = subprocess.run(make, capture_output=True, text=True, check=False).stdout
    assert "CONFIG_DEBUG_INFO_BTF_MODULES= " in said
