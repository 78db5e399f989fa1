"""What every test in a VM gets: the driver loaded, and a slice of the kernel's log of its own.

A test fails if the kernel complained while it ran, however green its asserts; and if its log could
not be read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
from typing import TYPE_CHECKING

import pytest
from clients import Client
from equal import NPAGES
from modules import Modules

from ksmlab import content
from ksmlab.device import KsmDevice
from ksmlab.lab import MODULE_DIR_VARIABLE
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs
from ksmlab.vm.splat import parse_kmsg, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from ksmlab.device import Area

RECORD_BYTES = 8192


class KernelLog:
    """Everything that the kernel has logged since the last look, from /dev/kmsg."""

    def __init__(self) -> None:
        self._descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._descriptor, 0, os.SEEK_END)

    def take(self) -> list[str]:
        """Give the new lines.

        Raises:
            RuntimeError: The kernel overwrote records before they were read.
        """
        lines: list[str] = []
        lost = False
        while True:
            try:
                record = os.read(self._descriptor, RECORD_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EPIPE:
                    raise
                lost = True
                continue
            lines += parse_kmsg(record.decode(errors="replace")).text.split("\n")
        if lost:
            raise RuntimeError("the kernel overwrote records of its log before they were read")
        return lines


#: Sequences of the fuzzer in one part, which is one test with one deadline.
FUZZ_PART = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz", "the fuzzer of tests/vm/test_fuzz.py")
    group.addoption("--fuzz-examples", type=int, default=FUZZ_PART, help="how many sequences")
    group.addoption("--fuzz-seed", type=int, default=None, help="play the same ones again")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fuzz_part" not in metafunc.fixturenames:
        return
    examples = metafunc.config.getoption("fuzz_examples")
    seed = metafunc.config.getoption("fuzz_seed")
    parts = [min(FUZZ_PART, examples - begun) for begun in range(0, examples, FUZZ_PART)]
    seeds = [
        random.randrange(1 << 32) if seed is None else seed + part for part in range(len(parts))
    ]
    ids = [f"part{part}" for part in range(len(parts))]
    metafunc.parametrize("fuzz_part", list(zip(parts, seeds, strict=True)), ids=ids)


KERNEL_LOG = pytest.StashKey[KernelLog]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[KERNEL_LOG] = KernelLog()


def check_log(item: pytest.Item, when: str) -> None:
    """Fail the test if the kernel complained since the last look."""
    lines = item.config.stash[KERNEL_LOG].take()
    if lines:
        item.add_report_section(when, "kernel log", "\n".join(lines))
    if splats := scan(lines):
        shown = "\n\n".join("\n".join(splat.lines) for splat in splats)
        pytest.fail(
            f"the kernel complained: {'; '.join(map(str, splats))}\n\n{shown}", pytrace=False
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    try:
        result = yield
    except BaseException as error:
        # The test's own failure comes first; what the kernel said goes with it.
        try:
            check_log(item, "call")
        except pytest.fail.Exception as complaint:
            error.add_note(str(complaint))
        raise
    check_log(item, "call")
    return result


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    result = yield
    check_log(item, "teardown")
    return result


@pytest.fixture(scope="session")
def modules() -> Modules:
    """Our modules; they are loaded already."""
    if MODULE_DIR_VARIABLE not in os.environ:
        pytest.exit(f"{MODULE_DIR_VARIABLE} is not set: these run in a VM (make test-vm)", 2)
    return Modules()


@pytest.fixture(scope="session", autouse=True)
def _driver_loaded(modules: Modules) -> None:
    modules.unload()
    modules.load()


@pytest.fixture
def scanning() -> Iterator[KsmSysfs]:
    """The scanner at work, fast; afterwards it is stopped, and nothing is merged."""
    with KsmSysfs.find().settings(pages_to_scan=2000, sleep=1000, max_kernel_pages=0, run=1) as ksm:
        yield ksm
        ksm.run = 2


@pytest.fixture
def start_client() -> Iterator[Callable[..., Client]]:
    """Start C clients by name, with arguments; the test's end ends them."""
    with contextlib.ExitStack() as stack:

        def start(name: str, *arguments: str) -> Client:
            client = Client(name, *arguments)
            stack.callback(client.close)
            return client

        yield start


@pytest.fixture
def area() -> Iterator[Area]:
    """An area with nothing in it; it is closed after the test."""
    with KsmDevice() as device, device.create_area() as area:
        yield area


@pytest.fixture
def arena() -> Iterator[Arena]:
    """NPAGES small pages, all alike."""
    with Arena(NPAGES, huge=False) as arena:
        arena.fill(content.equal(NPAGES))
        yield arena
