"""A pytest plugin: tests that run inside virtual machines, one for each kernel, and report on the host.

    pytest tests/vm --kernel debian-6.1 --kernel debian-6.12 -n 2

The host collects; a pytest in the VM, started over its console, runs what the host orders and sends its reports
over a virtio-serial port. Nothing here knows which module is tested: see docs/how-to/testing-your-module.md.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from ksmlab.pytest_plugin.guest import IN_GUEST
from ksmlab.pytest_plugin.host import DEADLINE_MARK, Host
from ksmlab.pytest_plugin.plan import TEST_SECONDS
from ksmlab.pytest_plugin.setup import Setup
from ksmlab.vm.errors import VmError
from ksmlab.vm.path_checks import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.pytest_plugin.leg import Leg

pytest_plugins = ("ksmlab.pytest_plugin.fixtures", "ksmlab.pytest_plugin.summary")

PARAMETER = "vm_kernel"
SETUP = pytest.StashKey[Setup]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what a person and a project may choose."""
    group = parser.getgroup("vm", "tests inside virtual machines")
    group.addoption(
        "--kernel", action="append", metavar="NAME",
        help="run the tests in a VM with this kernel; may be repeated",
    )  # fmt: skip
    group.addoption(
        "--vm-keep", action="store_true",
        help="leave the VM up after the first failure, and say how to attach to it",
    )  # fmt: skip
    group.addoption(
        "--vm-boot", action="append", default=[], metavar="ARG", help="an argument for the kernel"
    )
    group.addoption(
        "--vm-record", metavar="DIR", help="store what came from the VM during each test (JSON)"
    )
    group.addoption("--vm-memory", metavar="SIZE", help="the VM's memory, as QEMU takes it")
    group.addoption("--vm-cpus", type=int, default=2, metavar="N", help="virtual CPUs")
    group.addoption(
        "--vm-deadline", type=float, default=TEST_SECONDS, metavar="SECONDS",
        help=f"how long a test may take ({TEST_SECONDS:.0f}); stretched where the CPU is emulated",
    )  # fmt: skip
    parser.addini("vm_tests", "directories whose tests run in VMs", type="paths", default=[])
    parser.addini("vm_kernels", "the kernels' descriptions", default="vm/kernels.toml")
    parser.addini(
        "vm_default_kernels", "without --kernel: the first of these that is cached or in the archive",
        type="args", default=[],
    )  # fmt: skip
    parser.addini("vm_modules", "directory of the modules' sources, built for each kernel")
    parser.addini("vm_build", "where they are built", default="build")
    parser.addini("vm_allow", "allow-list of kernel complaints (TOML)")


def pytest_configure(config: pytest.Config) -> None:
    """Take the host's role, unless this is the guest."""
    config.addinivalue_line(
        "markers", f"{DEADLINE_MARK}(seconds): how long the test may take in its VM"
    )
    config.stash[SETUP] = Setup(config)
    if not config.stash.get(IN_GUEST, False):
        config.pluginmanager.register(
            Host(kernel_of, lambda name: make_leg(config, name)), "vm-host"
        )


def make_leg(config: pytest.Config, name: str) -> Leg:
    """Make what runs a kernel."""
    return config.stash[SETUP].leg(name)


def kernel_of(item: pytest.Item) -> str | None:
    """Give the kernel that a test runs on, None if it runs here.

    Raises:
        pytest.UsageError: It belongs in a VM, and could not be made one test a kernel.
    """
    setup = item.config.stash[SETUP]
    if not setup.belongs_in_vm(item.path):
        return None
    callspec = getattr(item, "callspec", None)
    if callspec is not None and PARAMETER in callspec.params:
        return str(callspec.params[PARAMETER])
    if len(setup.kernels) == 1:
        return setup.kernels[0]
    raise pytest.UsageError(
        f"{item.nodeid} cannot be run on several kernels in one go, as it takes no parameters "
        "(a unittest.TestCase, perhaps). Nothing was run. Next: give one --kernel"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make of each test that belongs in a VM one for each kernel."""
    setup = metafunc.config.stash[SETUP]
    if setup.belongs_in_vm(metafunc.definition.path):
        metafunc.fixturenames.append(PARAMETER)
        metafunc.parametrize(PARAMETER, setup.kernels, indirect=True, scope="session")


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turn errors of the block, which prepares the run, into usage errors: pytest then ends with their message alone.

    Raises:
        pytest.UsageError: A kernel is not available, a module does not build, a disk is full, or a path cannot be
            written to.
    """
    try:
        with storage_errors():
            yield
    except VmError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Fetch the kernels and build the modules before workers start: each worker would wait for them in silence.

    Raises:
        pytest.UsageError: A kernel is not available, or a module does not build.
    """
    setup = session.config.stash[SETUP]
    if session.config.stash.get(IN_GUEST, False) or setup.worker:
        return
    with usage_errors():
        setup.check()
        if setup.ahead and not session.config.option.collectonly:
            setup.prepare()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Prepare a kernel that was not named with --kernel before the first test, so that an error is reported once.

    A worker cannot end the run; in a worker, each test fails with the error instead.

    Raises:
        pytest.UsageError: The kernel is not available, or a module does not build.
    """
    setup = session.config.stash[SETUP]
    if (
        session.config.stash.get(IN_GUEST, False)
        or setup.worker
        or session.config.option.collectonly
    ):
        return
    if any(map(kernel_of, session.items)):
        with usage_errors():
            setup.prepare()
