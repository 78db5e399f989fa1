"""The driver loads only into the kernel build that it was compiled for."""

from __future__ import annotations

import platform
import subprocess
from typing import TYPE_CHECKING

import pytest

from ksmlab.pytest_plugin.fixtures import module_dir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modules import Modules


@pytest.fixture
def unloaded(modules: Modules) -> Iterator[None]:
    with modules.without():
        yield


@pytest.mark.usefixtures("unloaded")
def test_a_module_built_for_another_build_of_the_same_release_is_refused(tmp_path: Path) -> None:
    """The module loader compares only the release, which is the same, so the driver must check the build."""
    running = platform.version().encode()
    other = running[:-1] + b"?"
    image = (module_dir() / "ksm.ko").read_bytes()
    assert running + b"\0" in image
    path = tmp_path / "ksm.ko"
    path.write_bytes(image.replace(running + b"\0", other + b"\0"))
    done = subprocess.run(["insmod", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    assert f'ksm: built for "{other.decode()}", but "{running.decode()}" is running' in log
