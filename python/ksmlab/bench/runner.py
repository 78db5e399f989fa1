"""The host's half: boot a VM, have the guest measure in it, and gather what it says."""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksmlab import lab as lab_module
from ksmlab.bench.guest import MARK
from ksmlab.bench.holds import Longest
from ksmlab.bench.plan import Plan
from ksmlab.bench.result import Guest, Sample
from ksmlab.vm.config import MachineConfig
from ksmlab.vm.errors import VmError
from ksmlab.vm.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from ksmlab.vm.accel import Accel
    from ksmlab.vm.build import BuiltModules

PROBE = Path(__file__).with_name("probe.c")
INDEX_PROBE = Path(__file__).with_name("index_probe.c")
#: Without it the slab caches of several users are one, and /proc/slabinfo cannot tell them apart.
BOOT = ("slab_nomerge", "norandmaps", "clearcpuid=erms,rep_good")
#: Allocate all memory of the VM at its start. Otherwise the host takes up to 30 ms for 2 MiB at the first access, which
#: would count as the CPU time of the thread that makes the access.
PREALLOCATED = ("-mem-prealloc",)
#: Seconds between two measurements where the VM counts instructions: a measurement then costs the scanner no time, and
#: a figure must come out the same twice.
COUNTED_INTERVAL = 0.0002
#: A figure can only be the same twice if the samples lie at the same places. With this number the last line is in none,
#: so pages that differ there alone (common_prefix) are read whole, as with 15 draws of 16.
COUNTED_HASH_SEED = 20090409
#: Seconds for a boot, for a whole session, and without a word from the guest.
BOOT_SECONDS = 180.0
SESSION_SECONDS = 8 * 3600.0
SILENT_SECONDS = 1200.0


@dataclass(frozen=True)
class Wanted:
    """What to measure; see plan.Plan for the rest of its words.

    Attributes:
        kernels: Names of vm/kernels.toml.
        engines: Names of plan.ENGINES.
        counted: Whether the VM counts instructions, so that a figure is the same twice.
    """

    kernels: tuple[str, ...]
    engines: tuple[str, ...]
    workloads: tuple[str, ...]
    npages: int
    runs: int
    factors: tuple[int, ...] = ()
    growth_runs: int = 1
    passes: int = 10
    steady_ns: int = 300_000_000
    limit: bool = True
    families: int = Plan.families
    held_pages: int = Plan.held_pages
    held_stride: int = Plan.held_stride
    counted: bool = False


class Lines:
    """Put a guest's output together, and take out the lines that are for us.

    Args:
        on_data: Called with the data of each.
    """

    def __init__(self, on_data: Callable[[dict[str, Any]], None]) -> None:
        """Expect the first line."""
        self._on_data = on_data
        self._pending = ""
        self.other: list[str] = []

    def feed(self, piece: str) -> None:
        """Take a piece of output."""
        *lines, self._pending = (self._pending + piece).split("\n")
        for line in lines:
            if line.startswith(MARK):
                self._on_data(json.loads(line.removeprefix(MARK)))
            else:
                self.other.append(line)


@dataclass
class Session:
    """What one VM has said so far."""

    kernel: str
    accel: str
    on_sample: Callable[[Sample, Guest], None]
    on_hold: Callable[[Longest], None]
    guest: Guest | None = None

    def take(self, data: dict[str, Any]) -> None:
        """Take one thing that the guest said."""
        kind = data.pop("kind")
        if kind == "guest":
            self.guest = replace(Guest.from_data(data), kernel=self.kernel, accel=self.accel)
        elif kind == "sample" and self.guest is not None:
            sample = replace(Sample.from_data(data), kernel=self.kernel)
            self.on_sample(sample, self.guest)
        elif kind == "hold":
            self.on_hold(Longest(**data))


def compile_probe(target: Path) -> Path:
    """Compile probe.c for the guest, which has the host's C library.

    Raises:
        VmError: gcc is not here, or does not like it.
    """
    return _compile(PROBE, target, "-shared", "-fPIC")


def compile_index_probe(target: Path, checkout: Path) -> Path:
    """Compile index_probe.c and the hash index of a checkout for the guest's userspace.

    Raises:
        VmError: gcc is missing, or reports an error.
    """
    headers, kernel = checkout / "tests/index/include", checkout / "kernel"
    options = ("-std=gnu11", f"-I{headers}", f"-I{kernel}", str(kernel / "index_hash.c"))
    return _compile(INDEX_PROBE, target, *options)


def _compile(source: Path, target: Path, *options: str) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(target)]
    try:
        subprocess.run(
            [*command, *options, str(source)], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise VmError(
            f"{source.name} does not compile: {error}.",
            untouched="Nothing was measured.",
            hint="make doctor says what this host lacks.",
            log=getattr(error, "stderr", "") or "",
        ) from None
    return target


def takes_index(module: Path) -> bool:
    """Say whether a built ksm.ko has the parameter `index`; a driver without it has the tree alone."""
    return b"parmtype=index:" in module.read_bytes()


def plan_for(wanted: Wanted, built: BuiltModules, probe: Path) -> Plan:
    """Put together what the guest is asked."""
    module = built.module("ksm")
    return Plan(
        engines=wanted.engines,
        workloads=wanted.workloads,
        npages=wanted.npages,
        runs=wanted.runs,
        module=str(module),
        lab_module=str(built.module("ksm_lab")),
        probe=str(probe),
        has_index=takes_index(module),
        factors=wanted.factors,
        growth_runs=wanted.growth_runs,
        hash_seed=COUNTED_HASH_SEED if wanted.counted else 0,
        passes=wanted.passes,
        steady_ns=wanted.steady_ns,
        limit=wanted.limit,
        families=wanted.families,
        held_pages=wanted.held_pages,
        held_stride=wanted.held_stride,
        index_probe=str(probe.with_name(INDEX_PROBE.stem)),
        interval=COUNTED_INTERVAL if wanted.counted else Plan.interval,
    )


def config_for(wanted: Wanted, checkout: Path, accel: Accel) -> tuple[MachineConfig, Accel]:
    """Give the machine to boot, and how to run it.

    A machine that counts instructions is emulated, with one CPU, and its clock is the count: it stands while the host
    does something else, and jumps ahead when the guest is idle. Source: docs/devel/tcg-icount.rst of QEMU.
    """
    config = MachineConfig(boot_args=BOOT, cwd=checkout, remember=True)
    if not wanted.counted:
        return replace(config, qemu_options=PREALLOCATED), accel
    counting = ("-icount", "shift=1,sleep=off", "-rtc", "clock=vm")
    return (
        replace(config, cpus=1, qemu_options=counting, boot_args=(*BOOT, "nokaslr")),
        replace(accel, kvm=False, why="counting instructions: one emulated CPU, 2 ns each"),
    )


def run_in(
    lab: lab_module.Lab,
    name: str,
    wanted: Wanted,
    accel: Accel,
    on_data: Callable[[dict[str, Any]], None],
    module: str = "ksmlab.bench.guest",
) -> None:
    """Boot one kernel, and run a guest's half in it.

    Args:
        lab: The checkout.
        name: The kernel.
        wanted: What to measure.
        accel: How VMs are run here.
        on_data: Called with each thing that the guest says.
        module: The guest's half.

    Raises:
        VmError: The VM or the guest's half failed; what came before was passed on already.
    """
    kernel = lab.kernel(name)
    built = lab.build(kernel)
    probe = compile_probe(lab.checkout / "build/bench/probe.so")
    plan = plan_for(wanted, built, probe)
    if wanted.held_pages:
        compile_index_probe(Path(plan.index_probe), lab.checkout)
    config, accel = config_for(wanted, lab.checkout, accel)
    lines = Lines(on_data)
    # A measurement may take all day, on a host that runs other things, too.
    deadlines = replace(config.deadlines, boot=BOOT_SECONDS, session=SESSION_SECONDS)
    config = replace(config, deadlines=deadlines)
    with contextlib.ExitStack() as stack:
        with lab.progress.step(f"{name}: booting"):
            machine = stack.enter_context(Machine(kernel, config, accel=accel))
        done = machine.run(
            lab_module.guest_python("-m", module, plan.to_json()),
            env=lab_module.guest_environment(lab.checkout),
            timeout=SESSION_SECONDS,
            idle_timeout=SILENT_SECONDS,
            on_output=lines.feed,
        )
        log = machine.run(["sh", "-c", "dmesg | tail -n 15"]).output if done.status else ""
    if done.status:
        raise VmError(
            f"The guest's half of the benchmark ended with status {done.status} on {name}.",
            untouched="What it measured before is kept.",
            hint="What it said, and the end of the VM's kernel log, are above.",
            log="\n".join([*lines.other, log]),
        )


def measure_in(
    lab: lab_module.Lab,
    name: str,
    wanted: Wanted,
    accel: Accel,
    on_sample: Callable[[Sample, Guest], None],
    on_hold: Callable[[Longest], None] = lambda _hold: None,
) -> Guest:
    """Boot one kernel, and measure all that is wanted in it; see run_in().

    Args:
        lab: The checkout.
        name: The kernel.
        wanted: What to measure.
        accel: How VMs are run here.
        on_sample: Called with each sample as it comes, and the VM that it is of.
        on_hold: Called with each longest hold of ksm_lock, if Wanted.held_pages asks for them.

    Returns:
        The VM that it was.

    Raises:
        VmError: The VM or the guest's half failed; what came before was passed on already.
    """
    _, how = config_for(wanted, lab.checkout, accel)
    session = Session(name, how.why, on_sample, on_hold)
    module = "ksmlab.bench.check_guest" if wanted.held_pages else "ksmlab.bench.guest"
    run_in(lab, name, wanted, accel, session.take, module)
    if session.guest is None:
        raise VmError(f"The guest's half of the benchmark said nothing on {name}.")
    return session.guest
