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
    """Return CPUs that have used all pages of an mm."""
    cpus = [Cpu(mm) for _ in range(number)]
    for cpu in cpus:
        for page in mm.table:
            access(cpu, page)
    return cpus


def replace(mm: Mm, start: int, end: int, cpus: list[Cpu], initiator: Cpu) -> None:
    """Change the entries of a range, and flush once."""
    mm.table |= {page: f"new {page}" for page in range(start, end)}
    flush(mm, start, end, cpus, initiator)


def test_no_cpu_uses_a_flushed_entry(mm: Mm) -> None:
    cpus = cpus_with(mm, 3)
    replace(mm, 8, 16, cpus, cpus[0])
    for cpu in cpus:
        assert [access(cpu, page) for page in range(8, 16)] == [mm.table[p] for p in range(8, 16)]


def test_one_flush_interrupts_each_other_cpu_once(mm: Mm) -> None:
    cpus = cpus_with(mm, 3)
    replace(mm, 0, 32, cpus, cpus[0])
    assert [cpu.ipis for cpu in cpus] == [0, 1, 1]


def test_entries_outside_of_the_range_are_kept(mm: Mm) -> None:
    cpus = cpus_with(mm, 2)
    replace(mm, 0, CEILING, cpus, cpus[0])
    for cpu in cpus:
        assert set(cpu.tlb) == set(range(CEILING, PAGES))


def test_long_range_flushes_the_whole_tlb(mm: Mm) -> None:
    cpus = cpus_with(mm, 2)
    replace(mm, 0, CEILING + 1, cpus, cpus[0])
    for cpu in cpus:
        assert cpu.tlb == {}


def test_cpu_with_another_mm_is_not_interrupted(mm: Mm) -> None:
    other = Mm({0: "other"})
    cpus = [*cpus_with(mm, 1), *cpus_with(other, 1)]
    replace(mm, 0, 1, cpus, cpus[0])
    assert cpus[1].ipis == 0
    assert cpus[1].tlb == {0: "other"}


def test_lazy_cpu_is_not_interrupted_and_flushes_later(mm: Mm) -> None:
    cpus = cpus_with(mm, 2)
    cpus[1].lazy = True
    replace(mm, 0, 8, cpus, cpus[0])
    assert cpus[1].ipis == 0
    switch_to(cpus[1], mm)
    assert not cpus[1].lazy
    assert access(cpus[1], 0) == "new 0"


def test_lazy_cpu_without_a_flush_keeps_its_tlb(mm: Mm) -> None:
    (cpu,) = cpus_with(mm, 1)
    cpu.lazy = True
    switch_to(cpu, mm)
    assert len(cpu.tlb) == PAGES


def test_cpu_does_not_flush_twice_for_one_change(mm: Mm) -> None:
    cpus = cpus_with(mm, 2)
    replace(mm, 0, 8, cpus, cpus[0])
    kept = len(cpus[1].tlb)
    cpus[1].lazy = True
    switch_to(cpus[1], mm)
    assert len(cpus[1].tlb) == kept == PAGES - 8


def test_lazy_cpu_that_has_flushed_does_not_flush_again(mm: Mm) -> None:
    cpus = cpus_with(mm, 2)
    cpus[1].lazy = True
    replace(mm, 0, 8, cpus, cpus[0])
    switch_to(cpus[1], mm)
    access(cpus[1], 0)
    cpus[1].lazy = True
    switch_to(cpus[1], mm)
    assert cpus[1].tlb == {0: "new 0"}


def test_scanner_can_run_on_a_lazy_cpu_that_has_loaded_the_mm(mm: Mm) -> None:
    (cpu,) = cpus_with(mm, 1)
    cpu.lazy = True
    replace(mm, 0, 8, [cpu], cpu)
    assert cpu.ipis == 0
    switch_to(cpu, mm)
    assert access(cpu, 0) == "new 0"


def test_entry_of_one_mm_is_never_used_for_another(mm: Mm) -> None:
    other = Mm({page: f"other {page}" for page in range(PAGES)})
    (cpu,) = cpus_with(mm, 1)
    switch_to(cpu, other)
    assert access(cpu, 0) == "other 0"
    switch_to(cpu, mm)
    assert access(cpu, 0) == "old 0"


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
                needed = [
                    each for each in cpus if each.mm is mm and not each.lazy and each is not cpu
                ]
                before = {each: each.ipis for each in cpus}
                flush(mm, start, end, cpus, cpu)
                assert [each for each in cpus if each.ipis > before[each]] == needed
            case _:
                if not cpu.lazy:
                    page = chance.randrange(PAGES)
                    assert access(cpu, page) == cpu.mm.table[page]
