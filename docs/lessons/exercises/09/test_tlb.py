"""No CPU uses an entry that has been flushed, and no CPU is interrupted without need."""

from __future__ import annotations

import random

import pytest
from tlb import CEILING, Cpu, Mm, access, flush, switch_to

PAGES = 64


@pytest.fixture
def mm() -> Mm:
    return Mm({page: f"old {page}" for page in range(PAGES)})


def cpus_with(mm: Mm, number: int) -> list[Cpu]:
    """Return CPUs whose TLBs have all entries of an mm."""
    cpus = [Cpu(mm) for _ in range(number)]
    for cpu in cpus:
        for page in mm.table:
            access(cpu, page)
    return cpus


def replace(mm: Mm, start: int, end: int, cpus: list[Cpu], initiator: Cpu) -> None:
    """Change the entries of a range, and flush once."""
    mm.table |= {page: f"new {page}" for page in range(start, end)}
    flush(mm, start, end, cpus, initiator)


def check_access(cpu: Cpu, page: int, situation: str, section: str = "Copies of entries") -> None:
    """Compare the frame that a CPU uses with the entry in the page table."""
    wanted, got = cpu.mm.table[page], access(cpu, page)
    assert got == wanted, (
        f"{situation} The page table maps page {page} to frame '{wanted}', but the CPU uses an old entry of its TLB: "
        f"'{got}'. See '{section}'."
    )


def check_ipis(cpu: Cpu, wanted: int, situation: str, section: str) -> None:
    """Compare the number of IPIs that a CPU has received with the number that it must receive."""
    assert cpu.ipis == wanted, (
        f"{situation} So its `ipis` must be {wanted}; it is {cpu.ipis}. See '{section}'."
    )


def test_no_cpu_uses_a_flushed_entry(mm: Mm) -> None:
    cpus = cpus_with(mm, 3)
    replace(mm, 8, 16, cpus, cpus[0])
    for number, cpu in enumerate(cpus):
        for page in range(8, 16):
            check_access(
                cpu, page, f"CPU 0 has flushed pages 8 to 15. This is CPU {number} of three."
            )


def test_one_flush_interrupts_each_other_cpu_once(mm: Mm) -> None:
    cpus = cpus_with(mm, 3)
    replace(mm, 0, 32, cpus, cpus[0])
    section = "One flush for many entries"
    check_ipis(cpus[0], 0, "CPU 0 has called flush(), and flushes its TLB without an IPI.", section)
    for cpu in cpus[1:]:
        check_ipis(cpu, 1, "One flush of 32 pages is one IPI for another CPU.", section)


def test_entries_outside_of_the_range_are_kept(mm: Mm) -> None:
    cpus = cpus_with(mm, 2)
    replace(mm, 0, CEILING, cpus, cpus[0])
    for cpu in cpus:
        assert set(cpu.tlb) == set(range(CEILING, PAGES)), (
            f"The range has {CEILING} pages, which is not more than CEILING. So the TLB must lose exactly pages 0 to "
            f"{CEILING - 1}, and keep {PAGES - CEILING} entries; it has {len(cpu.tlb)}. See 'One flush for many "
            "entries'."
        )


def test_long_range_flushes_the_whole_tlb(mm: Mm) -> None:
    cpus = cpus_with(mm, 2)
    replace(mm, 0, CEILING + 1, cpus, cpus[0])
    for cpu in cpus:
        assert cpu.tlb == {}, (
            f"The range has {CEILING + 1} pages, which is more than CEILING. So the TLB must be empty; it has "
            f"{len(cpu.tlb)} entries. See 'One flush for many entries'."
        )


def test_cpu_with_another_mm_is_not_interrupted(mm: Mm) -> None:
    other = Mm({0: "other"})
    cpus = [*cpus_with(mm, 1), *cpus_with(other, 1)]
    replace(mm, 0, 1, cpus, cpus[0])
    check_ipis(
        cpus[1],
        0,
        "The CPU has loaded another mm, so its TLB has no entries of this mm.",
        "Copies of entries",
    )
    assert cpus[1].tlb == {0: "other"}, (
        "The CPU has loaded another mm. flush() must not change its TLB, which had an entry for page 0; it is "
        f"{cpus[1].tlb} now. See 'Copies of entries'."
    )


def test_lazy_cpu_is_not_interrupted_and_flushes_later(mm: Mm) -> None:
    cpus = cpus_with(mm, 2)
    cpus[1].lazy = True
    replace(mm, 0, 8, cpus, cpus[0])
    check_ipis(cpus[1], 0, "The CPU is lazy, and uses no entries now.", "Count the interrupts")
    switch_to(cpus[1], mm)
    assert not cpus[1].lazy, (
        "switch_to() lets the CPU run a process, so `lazy` must be False; it is True. See 'Count the interrupts'."
    )
    check_access(
        cpus[1],
        0,
        "The CPU was lazy during a flush. switch_to() must compare the generations.",
        "Count the interrupts",
    )


def test_lazy_cpu_without_a_flush_keeps_its_tlb(mm: Mm) -> None:
    (cpu,) = cpus_with(mm, 1)
    cpu.lazy = True
    switch_to(cpu, mm)
    assert len(cpu.tlb) == PAGES, (
        f"Nothing was flushed while the CPU was lazy. So switch_to() must keep all {PAGES} entries; {len(cpu.tlb)} are "
        "left. See 'Count the interrupts'."
    )


def test_cpu_does_not_flush_twice_for_one_change(mm: Mm) -> None:
    cpus = cpus_with(mm, 2)
    replace(mm, 0, 8, cpus, cpus[0])
    cpus[1].lazy = True
    switch_to(cpus[1], mm)
    assert len(cpus[1].tlb) == PAGES - 8, (
        "An IPI has flushed 8 entries from the TLB, so the CPU is up to date, and flush() must record that in its "
        f"`generation`. Then switch_to() keeps the other {PAGES - 8} entries; {len(cpus[1].tlb)} are left. See 'Count "
        "the interrupts'."
    )


def test_lazy_cpu_that_has_flushed_does_not_flush_again(mm: Mm) -> None:
    cpus = cpus_with(mm, 2)
    cpus[1].lazy = True
    replace(mm, 0, 8, cpus, cpus[0])
    switch_to(cpus[1], mm)
    access(cpus[1], 0)
    cpus[1].lazy = True
    switch_to(cpus[1], mm)
    assert cpus[1].tlb == {0: "new 0"}, (
        "The first switch_to() has flushed, and must record that in `generation`. The second one must keep the entry "
        f"that was loaded since, {{0: 'new 0'}}; the TLB is {cpus[1].tlb}. See 'Count the interrupts'."
    )


def test_scanner_can_run_on_a_lazy_cpu_that_has_loaded_the_mm(mm: Mm) -> None:
    (cpu,) = cpus_with(mm, 1)
    cpu.lazy = True
    replace(mm, 0, 8, [cpu], cpu)
    check_ipis(cpu, 0, "The CPU has called flush() itself.", "One flush for many entries")
    switch_to(cpu, mm)
    check_access(
        cpu,
        0,
        "The scanner has called flush() on this CPU, which was lazy.",
        "Count the interrupts",
    )


def test_entry_of_one_mm_is_never_used_for_another(mm: Mm) -> None:
    other = Mm({page: f"other {page}" for page in range(PAGES)})
    (cpu,) = cpus_with(mm, 1)
    for each in (other, mm):
        switch_to(cpu, each)
        assert cpu.mm is each, (
            "switch_to() must load the other mm: `mm` of the CPU still is the old one. See 'Count the interrupts'."
        )
        check_access(
            cpu, 0, "The CPU has switched to another mm, so all entries must leave the TLB."
        )


@pytest.mark.parametrize("seed", range(20))
def test_every_access_uses_the_current_entry(seed: int) -> None:
    chance = random.Random(seed)
    mms = [Mm({page: f"{name} {page}" for page in range(PAGES)}) for name in "ab"]
    cpus = [Cpu(chance.choice(mms)) for _ in range(3)]
    for step in range(500):
        cpu, mm = chance.choice(cpus), chance.choice(mms)
        match chance.randrange(5):
            case 0:
                cpu.lazy = True
            case 1:
                switch_to(cpu, mm)
            case 2:
                start = chance.randrange(PAGES)
                end = chance.randint(start + 1, PAGES)
                mm.table |= dict.fromkeys(range(start, end), f"step {step}")
                wanted = [
                    each.ipis + (each.mm is mm and not each.lazy and each is not cpu)
                    for each in cpus
                ]
                flush(mm, start, end, cpus, cpu)
                for each, ipis in zip(cpus, wanted, strict=True):
                    check_ipis(
                        each,
                        ipis,
                        f"Three CPUs run, switch and flush at random. This is after step {step + 1}, a flush.",
                        "Count the interrupts",
                    )
            case _:
                if not cpu.lazy:
                    check_access(
                        cpu,
                        chance.randrange(PAGES),
                        f"Three CPUs run, switch and flush at random. This is after step {step + 1}.",
                    )
