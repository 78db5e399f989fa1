"""No symbol of the modules has the name of a kernel symbol, so loading them does not affect probes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

#: Names that no source file chooses: static variables of functions, the compiler's constructors, the linker's tables,
#: and descriptors of module parameters. None of them is a function that a probe could be meant for.
GENERATED = re.compile(
    r"(?<!\.constprop)(?<!\.isra)(?<!\.part)\.\d+$|^orc_header$|^__(start|stop)_|^__param_|^_sub_[DI]_"
)
EVENTS = Path("/sys/kernel/tracing/kprobe_events")


def names() -> tuple[set[str], set[str]]:
    """Return the names of the kernel's symbols, and the names of the modules' symbols."""
    kernel: set[str] = set()
    ours: set[str] = set()
    for line in Path("/proc/kallsyms").read_text().splitlines():
        name, _, module = line.split(None, 2)[2].partition("\t")
        if not module:
            kernel.add(name)
        elif module.strip("[]") in {"ksm", "ksm_lab"} and not GENERATED.search(name):
            ours.add(name)
    return kernel, ours


def test_no_symbol_has_the_name_of_a_kernel_symbol() -> None:
    kernel, ours = names()
    assert "ksm_get_pte" in ours
    assert "vm_normal_page" in kernel
    assert ours & kernel == set()


@pytest.mark.parametrize("function", ["vm_normal_page", "flush_tlb_mm_range", "lru_add_drain_all"])
def test_a_kprobe_attaches_to_a_function_that_the_driver_calls(function: str) -> None:
    EVENTS.write_text(f"p:devksm_test/{function} {function}\n")
    try:
        assert function in EVENTS.read_text()
    finally:
        # Opening the file with O_TRUNC removes all probes.
        EVENTS.write_text("")
