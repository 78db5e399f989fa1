"""Every allocation of loading and unloading the module fails once.

A load either succeeds or leaves nothing behind: no device, no thread, no cache, and the kernel's own
KSM has its directory back. An unload always succeeds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import faults
import pytest
from faults import FailNth, attempt, walk
from written import written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modules import Modules

KERNELS_OWN = Path("/sys/kernel/mm/ksm")
TRACING = Path("/sys/kernel/tracing")
PARAMETERS = b"sysfs=takeover"
#: The load ends where the parameters are read.
REFUSED_PARAMETERS = PARAMETERS + b" sysfs_dir=no"
KTHREADD = 2
#: Processes that existed before, which a search for a new one skips.
OLD_PROCESSES: set[str] = set()

injection = pytest.fixture(faults.enable)
pytestmark = [pytest.mark.usefixtures("injection"), pytest.mark.vm_deadline(600)]


@pytest.fixture
def image(modules: Modules, tmp_path: Path) -> Iterator[int]:
    """The driver's file, open, and the driver not loaded."""
    # It is loaded by the hundred: a small file, in memory, is read in no time.
    small = tmp_path / "ksm.ko"
    subprocess.run(["strip", "--strip-debug", "-o", small, modules.path("ksm")], check=True)
    with modules.without():
        OLD_PROCESSES.update(os.listdir("/proc"))
        fd = os.open(small, os.O_RDONLY | os.O_CLOEXEC)
        yield fd
        os.close(fd)


def new_threads() -> list[str]:
    """Return the names of the processes that are younger than the test."""
    found = []
    for name in set(os.listdir("/proc")) - OLD_PROCESSES:
        # Another process may end meanwhile.
        with contextlib.suppress(OSError):
            found.append(Path("/proc", name, "comm").read_text().strip())
    return found


def nothing_is_left(where: object) -> None:
    """Look for what a load brings."""
    assert not Path("/sys/module/ksm").exists(), where
    assert not Path("/dev/ksm").exists(), where
    assert not Path("/sys/kernel/mm/ksm_dev").exists(), where
    assert "merge_across_nodes" in os.listdir(KERNELS_OWN), where
    assert "devksm_node" not in os.listdir("/sys/kernel/slab"), where
    assert "kksmd" not in new_threads(), where


def everything_is_there(where: object) -> None:
    assert Path("/dev/ksm").exists(), where
    assert "merge_across_nodes" not in os.listdir(KERNELS_OWN), where
    assert (KERNELS_OWN / "pages_shared").read_text() == "0\n", where
    assert "kksmd" in new_threads(), where


def loaders_own(image: int) -> int:
    """Return how many allocations a load makes until it has read the module's parameters.

    What hooks into the load of a module comes before that, and warns when it lacks memory; all that
    comes after it undoes what was done.
    """
    with FailNth() as task:
        task.arm(faults.MOST)
        with pytest.raises(OSError, match="Invalid argument"):
            faults.finit_module(image, REFUSED_PARAMETERS)
        return faults.MOST - task.left()


def test_load(image: int) -> None:
    """From the parameters to the end, one allocation after the other."""
    refused = 0
    with written({TRACING / "events/module/module_load/enable": "1"}):
        for trial in walk(lambda: load(image), first=loaders_own(image)):
            if trial.error is not None:
                assert trial.errno == errno.ENOMEM, trial
                nothing_is_left(trial)
                refused += module_ran()
                continue
            everything_is_there(trial)
            faults.delete_module(b"ksm")
            nothing_is_left(trial)
    # The index, the cache, the thread, the directory and its files, the device.
    assert refused >= 20, (refused, trial)


def load(image: int) -> None:
    (TRACING / "trace").write_text("")
    faults.finit_module(image, PARAMETERS)


def module_ran() -> bool:
    """Say whether the last load got as far as the module's own code: the kernel says so right before it."""
    return "module_load: ksm " in (TRACING / "trace").read_text()


def test_load_when_no_thread_can_be_made(image: int) -> None:
    """The thread is kthreadd's work, and so are the allocations for it."""
    refused = 0
    with FailNth(KTHREADD) as kthreadd:
        hit = True
        nth = 0
        while hit:
            nth += 1
            trial = attempt(kthreadd, nth, lambda: faults.finit_module(image, PARAMETERS))
            hit = trial.hit
            if trial.error is not None:
                # fork() has a word of its own for some of what it lacks.
                assert trial.errno in (errno.ENOMEM, errno.EAGAIN), trial
                nothing_is_left(trial)
                refused += 1
                continue
            everything_is_there(trial)
            faults.delete_module(b"ksm")
    assert refused >= 5, (refused, nth)


def test_unload(image: int) -> None:
    """Whatever fails, the module goes, and the kernel's KSM has its directory back."""
    with FailNth() as task:
        hit = True
        nth = 0
        while hit:
            nth += 1
            faults.finit_module(image, PARAMETERS)
            everything_is_there(nth)
            trial = attempt(task, nth, lambda: faults.delete_module(b"ksm"))
            hit = trial.hit
            assert trial.error is None, trial
            nothing_is_left(trial)
    assert nth > 1, "an unload allocates what the kernel's directory needs"
