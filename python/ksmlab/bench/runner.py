"""Boot a VM on the host, run measurements in it, and collect the results."""

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
from ksmlab.vm.failures import reason
from ksmlab.vm.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from ksmlab.vm.accel import Accel
    from ksmlab.vm.build import BuiltModules

PROBE = Path(__file__).with_name("probe.c")
INDEX_PROBE = Path(__file__).with_name("index_probe.c")
#: With slab_nomerge, each kind of object has its own slab cache in /proc/slabinfo. norandmaps makes the layout of
#: address spaces the same in each run. clearcpuid keeps the kernel from clearing pages with `rep stosb`, which is very
#: slow under emulation.
BOOT = ("slab_nomerge", "norandmaps", "clearcpuid=erms,rep_good")
#: Allocate all memory of the VM at its start. Otherwise the first access to 2 MiB takes the host up to 30 ms, which
#: would be counted as CPU time of the accessing thread.
PREALLOCATED = ("-mem-prealloc",)
#: The seconds between two readings of the counters if the VM counts instructions. It is short, since a reading does not
#: change the scanner's figures then, and the figures have to be reproducible.
COUNTED_INTERVAL = 0.0002
#: A fixed seed, because figures can be reproduced only if the driver samples the same cache lines. With this seed, no
#: sample contains the last line of a page. So pages that differ only there (common_prefix) are read completely, as with
#: 15 of 16 random seeds.
COUNTED_HASH_SEED = 20090409
#: The most seconds for a boot, for a whole session, and without output of the guest.
BOOT_SECONDS = 180.0
SESSION_SECONDS = 8 * 3600.0
SILENT_SECONDS = 1200.0


@dataclass(frozen=True)
class Wanted:
    """The measurements that the user has requested; `plan.Plan` describes the other attributes.

    Attributes:
        kernels: The names of the kernels in vm/kernels.toml.
        engines: The names of the engines in plan.ENGINES.
        counted: Whether the VM counts instructions instead of time, so that figures can be reproduced.
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
    """Splits a guest's output into lines, and parses the lines with data.

    Args:
        on_data: Called with the data of each such line.

    Attributes:
        other: The other lines.
    """

    def __init__(self, on_data: Callable[[dict[str, Any]], None]) -> None:
        self._on_data = on_data
        self._pending = ""
        self.other: list[str] = []

    def feed(self, piece: str) -> None:
        """Process a piece of output, which may end in the middle of a line."""
        *lines, self._pending = (self._pending + piece).split("\n")
        for line in lines:
            if line.startswith(MARK):
                self._on_data(json.loads(line.removeprefix(MARK)))
            else:
                self.other.append(line)


@dataclass
class Session:
    """Converts the data of one VM, and passes the samples and holds on."""

    kernel: str
    accel: str
    on_sample: Callable[[Sample, Guest], None]
    on_hold: Callable[[Longest], None]
    guest: Guest | None = None

    def take(self, data: dict[str, Any]) -> None:
        """Process the data of one line."""
        kind = data.pop("kind")
        if kind == "guest":
            self.guest = replace(Guest.from_data(data), kernel=self.kernel, accel=self.accel)
        elif kind == "sample" and self.guest is not None:
            sample = replace(Sample.from_data(data), kernel=self.kernel)
            self.on_sample(sample, self.guest)
        elif kind == "hold":
            self.on_hold(Longest(**data))


def compile_probe(target: Path) -> Path:
    """Compile probe.c for the guest, which uses the host's C library.

    Raises:
        VmError: gcc is not installed, or reports an error.
    """
    return _compile(PROBE, target, "-shared", "-fPIC")


def compile_index_probe(target: Path, checkout: Path) -> Path:
    """Compile index_probe.c and the hash index of a checkout for the guest's userspace.

    Raises:
        VmError: gcc is not installed, or reports an error.
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
            f"{source.name} does not compile: {reason(error)}.",
            untouched="Nothing was measured.",
            hint="`make doctor` lists what this host lacks.",
            log=getattr(error, "stderr", "") or "",
        ) from None
    return target


def takes_index(module: Path) -> bool:
    """Return whether a ksm.ko has the parameter `index`. A driver without it has only the tree."""
    return b"parmtype=index:" in module.read_bytes()


def plan_for(wanted: Wanted, built: BuiltModules, probe: Path) -> Plan:
    """Return the plan for the guest.

    Args:
        wanted: The requested measurements.
        built: The built modules.
        probe: The compiled probe.c. The compiled index_probe.c is in the same directory.
    """
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
    """Return the configuration of the VM, and the way to run its CPUs.

    A VM that counts instructions is emulated and has one CPU. Its clock counts executed instructions: it stops while
    the host runs other tasks, and jumps ahead when the guest is idle. Source: docs/devel/tcg-icount.rst of QEMU.
    """
    config = MachineConfig(boot_args=BOOT, cwd=checkout, remember=True)
    if not wanted.counted:
        return replace(config, qemu_options=PREALLOCATED), accel
    counting = ("-icount", "shift=1,sleep=off", "-rtc", "clock=vm")
    return (
        replace(config, cpus=1, qemu_options=counting, boot_args=(*BOOT, "nokaslr")),
        replace(
            accel, kvm=False, why="counting instructions: one emulated CPU, 2 ns per instruction"
        ),
    )


def run_in(
    lab: lab_module.Lab,
    name: str,
    wanted: Wanted,
    accel: Accel,
    on_data: Callable[[dict[str, Any]], None],
    module: str = "ksmlab.bench.guest",
) -> None:
    """Boot a kernel, and run a Python module that measures in the guest.

    Args:
        lab: The checkout.
        name: The name of the kernel.
        wanted: The requested measurements.
        accel: The way to run VMs on this host.
        on_data: Called with the data of each line that the module prints for the host.
        module: The Python module.

    Raises:
        VmError: The VM or the module failed. Earlier data has been passed to `on_data`.
    """
    kernel = lab.kernel(name)
    built = lab.build(kernel)
    probe = compile_probe(lab.checkout / "build/bench/probe.so")
    plan = plan_for(wanted, built, probe)
    if wanted.held_pages:
        compile_index_probe(Path(plan.index_probe), lab.checkout)
    config, accel = config_for(wanted, lab.checkout, accel)
    lines = Lines(on_data)
    # A measurement may take hours, and longer on a busy host.
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
            f"The benchmark program in the guest ended with status {done.status} on {name}.",
            untouched="Earlier samples are not lost.",
            hint="Its output and the end of the VM's kernel log are above.",
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
    """Boot a kernel, and run all requested measurements in it.

    Args:
        lab: The checkout.
        name: The name of the kernel.
        wanted: The requested measurements.
        accel: The way to run VMs on this host.
        on_sample: Called with each sample when it is complete, and the description of its VM.
        on_hold: Called with the longest hold of ksm_lock of each operation, if Wanted.held_pages is set.

    Returns:
        The description of the VM.

    Raises:
        VmError: The VM or the program in the guest failed. Earlier samples have been passed to `on_sample`.
    """
    _, how = config_for(wanted, lab.checkout, accel)
    session = Session(name, how.why, on_sample, on_hold)
    module = "ksmlab.bench.check_guest" if wanted.held_pages else "ksmlab.bench.guest"
    run_in(lab, name, wanted, accel, session.take, module)
    if session.guest is None:
        raise VmError(
            f"The benchmark program in the guest printed no results on {name}.",
            hint="Run it again. If that fails as well, report the problem with the output of `make doctor`.",
        )
    return session.guest
