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
from leaks import no_leaks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modules import Modules

KERNELS_OWN = Path("/sys/kernel/mm/ksm")
TRACING = Path("/sys/kernel/tracing")
PARAMETERS = b"sysfs=takeover"
KTHREADD = 2
#: They need not be looked at to find a new one.
OLD_PROCESSES: set[str] = set()
#: The kernel's own loader allocates by the hundred before the module gets to run. How often is not
#: the same each time, so the walk begins so much earlier.
MARGIN = 40

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
        with no_leaks():
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


def runs(task: FailNth, image: int, nth: int) -> bool:
    """Say whether the module gets to run when this allocation of its load fails."""
    (TRACING / "trace").write_text("")
    trial = attempt(task, nth, lambda: faults.finit_module(image, PARAMETERS))
    if trial.error is None:
        faults.delete_module(b"ksm")
    # The kernel says so right before it calls the module.
    return "module_load: ksm " in (TRACING / "trace").read_text()


def loaders_own(image: int) -> tuple[int, int]:
    """Return how many allocations a load makes before the module runs, and how many in all."""
    with FailNth() as task, faults.written({TRACING / "events/module/module_load/enable": "1"}):
        task.arm(faults.MOST)
        faults.finit_module(image, PARAMETERS)
        total = faults.MOST - task.left()
        task.arm(0)
        faults.delete_module(b"ksm")
        before, after = 0, total
        while after - before > 1:
            middle = (before + after) // 2
            if runs(task, image, middle):
                after = middle
            else:
                before = middle
    return before, total


def test_load(image: int) -> None:
    """From a little before the module runs to the end, one allocation after the other."""
    before, total = loaders_own(image)
    refused = 0
    for trial in walk(lambda: faults.finit_module(image, PARAMETERS), first=before - MARGIN):
        if trial.error is not None:
            assert trial.errno == errno.ENOMEM, trial
            nothing_is_left(trial)
            refused += trial.nth > before
            continue
        everything_is_there(trial)
        faults.delete_module(b"ksm")
        nothing_is_left(trial)
    assert trial.nth >= total - MARGIN, (before, total, trial)
    # The index, the cache, the shrinker, the thread, the directory and its files, the device.
    assert refused >= 20, (refused, before, total, trial)


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
