"""A pytest plugin that runs tests inside virtual machines, one for each kernel, and reports the results on the host.

    pytest tests/vm --kernel debian-6.1 --kernel debian-6.12 -n 2

The pytest on the host collects the tests. It starts a second pytest in the VM over the VM's console. That one runs the
tests that the host requests, and sends its reports over a virtio-serial port. The plugin does not depend on the module
under test: see docs/how-to/testing-your-module.md.
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
    """Add the command-line options and the configuration keys of the plugin."""
    group = parser.getgroup("vm", "tests inside virtual machines")
    group.addoption(
        "--kernel", action="append", metavar="NAME",
        help="run the tests in a VM with this kernel; may be repeated",
    )  # fmt: skip
    group.addoption(
        "--vm-keep", action="store_true",
        help="keep the VM running after the first failure, and print how to attach to it",
    )  # fmt: skip
    group.addoption(
        "--vm-boot", action="append", default=[], metavar="ARG",
        help="add this argument to the kernel's command line",
    )  # fmt: skip
    group.addoption(
        "--vm-record", metavar="DIR", help="store the messages of the VM during each test (JSON)"
    )
    group.addoption(
        "--vm-memory", metavar="SIZE",
        help="the VM's memory in QEMU's notation, such as 2G; by default as much as the kernel needs",
    )  # fmt: skip
    group.addoption(
        "--vm-cpus", type=int, default=2, metavar="N", help="the number of virtual CPUs"
    )
    group.addoption(
        "--vm-deadline", type=float, default=TEST_SECONDS, metavar="SECONDS",
        help=f"the time limit of a test ({TEST_SECONDS:.0f}); longer if the CPU is emulated or the kernel is slow",
    )  # fmt: skip
    parser.addini("vm_tests", "directories whose tests run in VMs", type="paths", default=[])
    parser.addini("vm_kernels", "file that describes the kernels", default="vm/kernels.toml")
    parser.addini(
        "vm_default_kernels", "kernels to use without --kernel: the first that is cached or in the archive",
        type="args", default=[],
    )  # fmt: skip
    parser.addini("vm_modules", "directory of the modules' sources, built for each kernel")
    parser.addini("vm_build", "directory in which the modules are built", default="build")
    parser.addini("vm_allow", "file with kernel reports that do not fail a test (TOML)")


def pytest_configure(config: pytest.Config) -> None:
    """Register the host's part of the plugin, unless this is the guest."""
    config.addinivalue_line(
        "markers", f"{DEADLINE_MARK}(seconds): the time limit of the test in its VM"
    )
    config.stash[SETUP] = Setup(config)
    if not config.stash.get(IN_GUEST, False):
        config.pluginmanager.register(
            Host(kernel_of, lambda name: make_leg(config, name)), "vm-host"
        )


def make_leg(config: pytest.Config, name: str) -> Leg:
    """Return the object that runs the tests of a kernel."""
    return config.stash[SETUP].leg(name)


def kernel_of(item: pytest.Item) -> str | None:
    """Return the name of the kernel that a test runs on, or None if it runs on the host.

    Raises:
        pytest.UsageError: The test belongs in a VM, but cannot be parametrized by kernel.
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
        f"{item.nodeid} cannot be run on several kernels, because it cannot be parametrized "
        "(perhaps it is a unittest.TestCase). Nothing was run. Next: use --kernel only once"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize each test that belongs in a VM by the kernels."""
    setup = metafunc.config.stash[SETUP]
    if setup.belongs_in_vm(metafunc.definition.path):
        metafunc.fixturenames.append(PARAMETER)
        metafunc.parametrize(PARAMETER, setup.kernels, indirect=True, scope="session")


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turn errors in the preparation of a run into usage errors, for which pytest shows only the message.

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
    """Fetch the kernels and build the modules before pytest-xdist starts its workers, which show no progress.

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

    Workers of pytest-xdist do not do this, since they cannot end the run; each of their tests fails with the error.

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
