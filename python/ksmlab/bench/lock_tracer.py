"""Measure how long threads hold ksm_lock, with kprobes on the kernel's mutex functions.

A hold lasts from the call of mutex_lock() to the call of mutex_unlock(). If the thread had to wait for the lock, its
hold begins when the kernel reports the end of the wait. Time for which the thread was preempted or interrupted is not
counted, since it depends on other tasks. (After the exit of a process, for example, a softirq runs RCU callbacks for up
to 2 ms.) Time for which the thread slept is counted. The driver needs no special code, so any build can be measured.

The kernel computes each hold (a histogram trigger passes the time of the lock event to the unlock event) and records
only the long ones. Source: Documentation/trace/histogram.rst and Documentation/trace/kprobetrace.rst.
"""

from __future__ import annotations

import bisect
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.bench.tracer import DIRECTORY, TracerError
from ksmlab.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LOCK = "ksm_lock"
MODULE = "[ksm]"
KALLSYMS = Path("/proc/kallsyms")
#: Holds shorter than this are not recorded, in nanoseconds.
SHORTEST = 20_000
_GROUP = "ksmlab"
_HOLD = "ksmlab_hold"
#: The kernel's events at the start and the end of an interrupt, by group.
_INTERRUPTS = {
    "irq": ("irq_handler_entry", "irq_handler_exit", "softirq_entry", "softirq_exit"),
    "irq_vectors": ("local_timer_entry", "local_timer_exit"),
}
_STARTS = frozenset(name for names in _INTERRUPTS.values() for name in names[::2])
_ENDS = frozenset(name for names in _INTERRUPTS.values() for name in names[1::2])
_LOCKING = ("mutex_lock", "mutex_lock_killable", "mutex_lock_interruptible", "mutex_trylock")
_EVENT = re.compile(
    r"^\s*(?P<task>.+)-(?P<pid>\d+)\s+\[\d+\].*?\s(?P<at>\d+\.\d+): (?P<name>\w+): (?P<fields>.*)$"
)
_FIELD = re.compile(r"(\w+)=(\S+)")
_OVERRUN = re.compile(r"^overrun: (\d+)$", re.MULTILINE)
_BUFFER_KB = 65_536


@dataclass(frozen=True)
class Hold:
    """One hold of ksm_lock.

    Attributes:
        ns: The duration, in nanoseconds of the VM's clock.
        task: The name of the thread.
        where: The function that dropped the lock.
    """

    ns: int
    task: str
    where: str


def lock_address(kallsyms: Iterable[str]) -> int:
    """Return the address of ksm_lock, from the lines of /proc/kallsyms.

    Raises:
        TracerError: The module is not loaded, or has no such lock.
    """
    for line in kallsyms:
        if MODULE in line:
            address, _, name, *_ = line.split()
            if name == LOCK:
                return int(address, 16)
    raise TracerError(
        f"holds of {LOCK} cannot be measured, because /proc/kallsyms has no such symbol of {MODULE}. "
        "Nothing was changed. Next: load ksm.ko. If the lock has a new name, change LOCK in lock_tracer.py"
    )


def module_functions(kallsyms: Iterable[str]) -> list[tuple[int, str]]:
    """Return the addresses and names of the driver's functions, sorted by address."""
    fields = (line.split() for line in kallsyms if MODULE in line)
    return sorted((int(one[0], 16), one[2]) for one in fields if one[1] in "tT")


class _Threads:
    """The events of each thread since it last dropped the lock."""

    def __init__(self) -> None:
        self._waited_until: dict[int, float] = {}
        self._preempted_at: dict[int, float] = {}
        self._interrupted_at: dict[int, list[float]] = defaultdict(list)
        self._away: dict[int, list[tuple[float, float]]] = defaultdict(list)

    def wait_ended(self, pid: int, at: float) -> None:
        """Record that a thread got the lock for which it has waited."""
        self._waited_until[pid] = at

    def switched(self, fields: dict[str, str], at: float) -> None:
        """Record a context switch. A previous thread in state R was preempted."""
        if fields["prev_state"].startswith("R"):
            self._preempted_at[int(fields["prev_pid"])] = at
        begin = self._preempted_at.pop(int(fields["next_pid"]), None)
        if begin is not None:
            self._away[int(fields["next_pid"])].append((begin, at))

    def interrupted(self, pid: int, at: float) -> None:
        """Record the start of an interrupt of a thread, perhaps during another interrupt."""
        self._interrupted_at[pid].append(at)

    def resumed(self, pid: int, at: float) -> None:
        """Record the end of the latest interrupt of a thread. If it was nested, the outer one includes its time."""
        starts = self._interrupted_at[pid]
        if starts:
            begin = starts.pop()
            if not starts:
                self._away[pid].append((begin, at))

    def held(self, pid: int, ns: int, at: float) -> int:
        """Return the time for which a thread held the lock, in nanoseconds.

        Args:
            pid: The thread.
            ns: The time since its call of mutex_lock(), in nanoseconds.
            at: The time of its call of mutex_unlock(), in seconds.
        """
        begin = at - ns / 1e9
        waited_until = self._waited_until.pop(pid, 0.0)
        if waited_until > begin:
            begin, ns = waited_until, round((at - waited_until) * 1e9)
        away = sum(max(0.0, end - max(start, begin)) for start, end in self._away.pop(pid, ()))
        return max(0, ns - round(away * 1e9))


def parse(trace: str, functions: Sequence[tuple[int, str]]) -> list[Hold]:
    """Return the holds in the text of a trace.

    Args:
        trace: The events ksmlab_hold, contention_end, sched_switch and those of interrupts, in order of time.
        functions: The result of module_functions().
    """
    found = []
    threads = _Threads()
    for line in trace.splitlines():
        event = _EVENT.match(line)
        if event is None:
            continue
        pid, at = int(event["pid"]), float(event["at"])
        fields = dict(_FIELD.findall(event["fields"]))
        if event["name"] == "contention_end":
            threads.wait_ended(pid, at)
        elif event["name"] == "sched_switch":
            threads.switched(fields, at)
        elif event["name"] in _STARTS:
            threads.interrupted(pid, at)
        elif event["name"] in _ENDS:
            threads.resumed(pid, at)
        elif event["name"] == _HOLD:
            ns = threads.held(pid, int(fields["ns"]), at)
            found.append(
                Hold(ns, event["task"].strip(), _function(int(fields["caller"]), functions))
            )
    return found


def _function(address: int, functions: Sequence[tuple[int, str]]) -> str:
    number = bisect.bisect_right(functions, (address, "\x7f")) - 1
    return functions[number][1] if number >= 0 else hex(address)


class LockTracer(Closing):
    """Records the holds of ksm_lock until it is closed.

    Args:
        directory: The mount point of tracefs.
        kallsyms: The kernel's list of symbols.

    Raises:
        TracerError: The driver is not loaded, or its lock has another name.
    """

    def __init__(self, directory: Path = DIRECTORY, kallsyms: Path = KALLSYMS) -> None:
        """Define the events, and enable them."""
        self._directory = directory
        with kallsyms.open() as lines:
            address = lock_address(lines)
        with kallsyms.open() as lines:
            self._functions = module_functions(lines)
        measure = f"ns=common_timestamp-$start:onmatch({_GROUP}.lock).{_HOLD}($ns,caller)"
        mine = f"if lock=={address:#x}"
        self._triggers = (
            (f"{_GROUP}/lock", f"hist:keys=common_pid:start=common_timestamp {mine}"),
            (f"{_GROUP}/unlock", f"hist:keys=common_pid:{measure} {mine}"),
        )
        self._write("buffer_size_kb", str(_BUFFER_KB))
        for function in _LOCKING:
            self._append("kprobe_events", f"p:{_GROUP}/lock {function} lock=%di")
        self._append("kprobe_events", f"p:{_GROUP}/unlock mutex_unlock lock=%di caller=$stack0")
        self._append("synthetic_events", f"{_HOLD} u64 ns; u64 caller")
        for event, trigger in self._triggers:
            self._append(f"events/{event}/trigger", trigger)
        self._write(f"events/synthetic/{_HOLD}/filter", f"ns > {SHORTEST}")
        self._write(f"events/synthetic/{_HOLD}/enable", "1")
        self._write("events/lock/contention_end/filter", f"lock_addr=={address:#x}")
        self._write("events/lock/contention_end/enable", "1")
        self._enable_others("1")

    def _enable_others(self, value: str) -> None:
        self._write("events/sched/sched_switch/enable", value)
        for group, names in _INTERRUPTS.items():
            for name in names:
                self._write(f"events/{group}/{name}/enable", value)

    def _write(self, name: str, text: str) -> None:
        (self._directory / name).write_text(text)

    def _append(self, name: str, text: str) -> None:
        # Path.open("a") seeks to the end, which tracefs refuses.
        fd = os.open(self._directory / name, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, f"{text}\n".encode())
        finally:
            os.close(fd)

    def _lost(self) -> int:
        """Return the number of events that the kernel has overwritten because the buffer was full."""
        stats = (path.read_text() for path in self._directory.glob("per_cpu/cpu*/stats"))
        return sum(int(count) for text in stats for count in _OVERRUN.findall(text))

    def close(self) -> None:
        """Remove the events."""
        self._enable_others("0")
        self._write("events/lock/contention_end/enable", "0")
        self._write(f"events/synthetic/{_HOLD}/enable", "0")
        for event, trigger in reversed(self._triggers):
            self._append(f"events/{event}/trigger", f"!{trigger}")
        self._append("synthetic_events", f"!{_HOLD} u64 ns; u64 caller")
        for event in ("lock", "unlock"):
            self._append("kprobe_events", f"-:{_GROUP}/{event}")

    def during(self, action: Callable[[], object]) -> Hold | None:
        """Call a function, and return the longest hold during the call; None if all were shorter than SHORTEST.

        Raises:
            TracerError: The trace buffer was too small, so a hold may be missing.
        """
        self._write("trace", "")
        action()
        trace = (self._directory / "trace").read_text()
        if self._lost():
            raise TracerError(
                f"the trace buffer of {_BUFFER_KB} KiB is too small, so holds are missing. No result was stored. "
                "Next: raise _BUFFER_KB or SHORTEST in lock_tracer.py"
            )
        holds = [hold for hold in parse(trace, self._functions) if hold.ns > SHORTEST]
        return max(holds, key=lambda hold: hold.ns, default=None)
