"""A model of the TLBs of several CPUs."""

from dataclasses import dataclass, field

CEILING = 33  # For a range of more pages, Linux on x86 flushes the whole TLB.


@dataclass(eq=False)
class Mm:
    """An address space: its page table, a dict: page -> frame, and the number of flushes so far."""

    table: dict[int, str] = field(default_factory=dict)
    generation: int = 0


@dataclass(eq=False)
class Cpu:
    """A CPU that has loaded the page table of an mm.

    `tlb` contains copies of entries of this mm. `generation` is the generation of the mm to which the TLB is up to
    date. While the CPU runs a kernel thread or is idle, it is `lazy`: it keeps the mm and the TLB, but uses neither.
    `ipis` counts the interrupts that it has received.
    """

    mm: Mm
    tlb: dict[int, str] = field(default_factory=dict)
    generation: int = 0
    lazy: bool = False
    ipis: int = 0


def flush(mm, start, end, cpus, initiator):
    """Make all CPUs forget their copies of the entries of a range, after the entries have changed.

    Args:
        mm: the mm.
        start: the first page of the range.
        end: the page after the range.
        cpus: all CPUs.
        initiator: the CPU that runs this function. It needs no IPI.
    """
    mm.generation += 1
    for cpu in cpus:
        # A lazy CPU compares the generations before it uses the mm again.
        if cpu.mm is not mm or cpu.lazy:
            continue
        if cpu is not initiator:
            cpu.ipis += 1
        if end - start > CEILING:
            cpu.tlb.clear()
        for page in range(start, end):
            cpu.tlb.pop(page, None)
        cpu.generation = mm.generation


def switch_to(cpu, mm):
    """Let a CPU run a process with an mm: the one that it has loaded already, or another one."""
    if cpu.mm is not mm or cpu.generation != mm.generation:
        cpu.tlb.clear()
    cpu.mm = mm
    cpu.generation = mm.generation
    cpu.lazy = False


def access(cpu, page):
    """Return the frame that a process on a CPU accesses, through the TLB if it has a copy of the entry."""
    assert not cpu.lazy
    if page not in cpu.tlb:
        cpu.tlb[page] = cpu.mm.table[page]
    return cpu.tlb[page]
