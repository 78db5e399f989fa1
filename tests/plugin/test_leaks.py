"""Test leak detection on a kernel with kmemleak: a leak fails the last test of the file that leaked.

KERNEL=debug-6.1 pytest tests/plugin/test_leaks.py
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from harness import KERNEL

if TYPE_CHECKING:
    from outside import Project

BOOT = "--vm-boot=kmemleak=on"


@pytest.mark.skipif(not KERNEL.startswith("debug-"), reason="left to make test-all: no kmemleak")
def test_a_leak_is_a_failure_and_says_who_made_it(project: Project) -> None:
    run = project.run("-k", "test_leaks", BOOT, "--vm-memory=2G")
    shown = run.section(r"kmemleak found memory leaks after test_crash\.py:\n", r"\n[=_]{5}")
    assert re.search(r"unreferenced object 0x[0-9a-f]{16} \(size 64\):\s+comm \"insmod\"", shown)
    assert re.search(r"1 passed, .*1 error in ", run.output.splitlines()[-1])


@pytest.mark.skipif(KERNEL.startswith("debug-"), reason="a kernel without kmemleak is wanted")
def test_kmemleak_that_is_not_there_is_a_failure_of_who_asked_for_it(project: Project) -> None:
    run = project.run("-k", "test_leaks", BOOT)
    assert "booted with kmemleak=on, but kmemleak is off or cannot be used" in run.output
    assert run.status == 1
