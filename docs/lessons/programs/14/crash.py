"""A test that crashes the kernel of its VM while pages are merged. pytest runs it on the host, for `ksmlab vm dump`."""

import sys
from pathlib import Path

import pytest

from ksmlab.pytest_plugin.fixtures import VmModules

sys.path.insert(0, str(Path(__file__).parent))
import client


@pytest.fixture
def driver(vm_modules: VmModules) -> None:
    """Load the driver before the test begins, so that the host learns where it is."""
    vm_modules.load("ksm")


@pytest.mark.usefixtures("driver")
def test_crash() -> None:
    merged = client.merged()
    Path("/proc/sysrq-trigger").write_text("c")
    del merged
