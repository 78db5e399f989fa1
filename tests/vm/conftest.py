"""What every test in a VM gets: the driver, loaded."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING

import kksmd
import numa
import proc
import pytest
from clients import Client
from equal import NPAGES
from kernel_config import built_with
from labours import KHUGEPAGED
from modules import Modules
from written import written

from ksmlab import content
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.patience import patient
from ksmlab.pytest_plugin.fixtures import module_dir
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ksmlab.device import Area


#: Sequences of the fuzzer in one part, which is one test with one deadline.
FUZZ_PART = 10
#: How long the stress test goes unless it is told; longer where a process takes long to start.
STRESS_SECONDS, STRESS_SECONDS_KASAN = 20.0, 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("stress test")
    group.addoption(
        "--stress-seconds",
        type=float,
        default=None,
        help=f"how long the stress test goes (default {STRESS_SECONDS:.0f}, with KASAN "
        f"{STRESS_SECONDS_KASAN:.0f}; the long run is 600)",
    )
    group.addoption(
        "--stress-seed",
        default="",
        help="repeat the chance of an earlier run of the stress test; it prints its seed",
    )
    parser.getgroup("driver").addoption(
        "--index",
        choices=["hash", "tree"],
        help="how the driver finds equal pages (default: its own)",
    )
    group = parser.getgroup("fuzz", "the fuzzer of tests/vm/test_fuzz.py")
    group.addoption("--fuzz-examples", type=int, default=FUZZ_PART, help="how many sequences")
    group.addoption("--fuzz-seed", type=int, default=None, help="play the same ones again")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give the stress test a deadline that follows from its length: set-up and unloading come on top."""
    for item in items:
        if item.get_closest_marker("stress"):
            # The host, which collects, does not know the kernel's configuration: the longer one.
            seconds = config.getoption("--stress-seconds") or STRESS_SECONDS_KASAN
            item.add_marker(pytest.mark.vm_deadline(2 * seconds + 480))


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


@pytest.fixture(scope="session")
def modules(pytestconfig: pytest.Config) -> Modules:
    """Our modules; they are loaded already."""
    return Modules(module_dir(), pytestconfig.getoption("--index"))


@pytest.fixture(scope="session", autouse=True)
def _driver_loaded(modules: Modules) -> None:
    modules.unload_all()
    modules.load_usual()


@pytest.fixture(scope="session", autouse=True)
def _khugepaged_sleeps() -> Iterator[None]:
    """Let khugepaged sleep until the tests have ended, unless a test wakes it.

    To make a huge page, khugepaged takes the mmap lock of a process for writing. If kksmd finds the lock taken, it
    skips the pages of this process, and a test that counts passes or skipped pages would fail.
    """
    if not KHUGEPAGED.exists():
        yield
        return
    with written({KHUGEPAGED / "scan_sleep_millisecs": "4294967295"}):
        # The write wakes it for one more scan.
        thread = kksmd.find("khugepaged")
        end = time.monotonic() + patient(60)
        while proc.state(thread) != "S":
            assert time.monotonic() < end, "khugepaged does not sleep"
            time.sleep(0.02)
        yield


@pytest.fixture(autouse=True)
def _nothing_stays_merged(_driver_loaded: None) -> Iterator[None]:
    """What a test leaves behind is charged to it, and not to the next.

    Its own memory is gone by then; that of a process that has died may go a moment later. After munlock(), a per-CPU
    list can hold the last reference to a kernel page.
    """
    yield

    def gone(ksm: KsmSysfs) -> bool:
        if not ksm.kernel_pages_allocated and not ksm.zero_pages:
            return True
        numa.drain()
        return False

    KsmSysfs.find().wait_until(gone, 60, "the pages of this test to go")


@pytest.fixture
def stress_seconds(pytestconfig: pytest.Config) -> float:
    """How long the stress test goes."""
    usual = STRESS_SECONDS_KASAN if built_with("CONFIG_KASAN") else STRESS_SECONDS
    return float(pytestconfig.getoption("--stress-seconds") or usual)


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
