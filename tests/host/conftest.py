"""Fixtures for the tests of the VM harness: a kernel and an accelerator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness import CHECKOUT, KERNEL

from ksmlab.vm import accel
from ksmlab.vm.kernels import KernelStore, cache_root, load_specs

if TYPE_CHECKING:
    from ksmlab.vm.accel import Accel
    from ksmlab.vm.kernels import Kernel


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--built",
        action="append",
        default=[],
        metavar="KERNEL",
        help="require that this kernel has been built: its tests fail instead of being skipped",
    )


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    return KernelStore(load_specs(CHECKOUT / "vm/kernels.toml"), cache_root()).get(KERNEL)


@pytest.fixture(scope="session")
def how() -> Accel:
    return accel.probe()
