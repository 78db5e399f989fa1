"""Holds of ksm_lock: what a trace says about them, and the bound."""

from __future__ import annotations

import io
import json
import subprocess
from dataclasses import asdict
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import pytest
from rich.console import Console

from ksmlab.bench import check, holds, holds_host, host, lock_tracer
from ksmlab.bench.holds import Child, HoldError, Longest
from ksmlab.bench.lock_tracer import Hold, LockTracer
from ksmlab.bench.plan import HASH, TREE
from ksmlab.bench.result import Results
from ksmlab.bench.runner import Wanted, compile_index_probe
from ksmlab.bench.tracer import TracerError
from ksmlab.lab import CHECKOUT
from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KALLSYMS = (
    "ffffffffc0001000 t scan_step\t[ksm]\n"
    "ffffffffc0002000 T ksm_unmerge\t[ksm]\n"
    "ffffffffc0009040 D ksm_lock\t[ksm]\n"
    "ffffffffc0101000 D ksm_lock\t[other]\n"
)
FUNCTIONS = lock_tracer.module_functions(KALLSYMS.splitlines())
IN_UNMERGE = 0xFFFFFFFFC0002010
SHORT = Longest(HASH, "insert", 90_000, "kksmd", "scan_step")
LONG = Longest(TREE, "merge", 20_000_000, "kksmd", "scan_step")
NONE = Longest(HASH, "run=2", None)


def line(task: str, pid: int, at: float, event: str) -> str:
    return f"  {task}-{pid}  [000] ..... {at:.6f}: {event}"


def held(at: float, ns: int, pid: int = 7) -> str:
    return line("kksmd", pid, at, f"ksmlab_hold: ns={ns} caller={IN_UNMERGE}")


def switch(at: float, before: int, state: str, after: int) -> str:
    old = f"prev_comm=a prev_pid={before} prev_prio=120 prev_state={state}"
    new = f"next_comm=b next_pid={after} next_prio=1"
    return line("a", before, at, f"sched_switch: {old} ==> {new}")


def parsed(*lines: str) -> list[int]:
    return [hold.ns for hold in lock_tracer.parse("# tracer: nop\n" + "\n".join(lines), FUNCTIONS)]


def test_address_of_lock_is_the_drivers() -> None:
    assert lock_tracer.lock_address(KALLSYMS.splitlines()) == 0xFFFFFFFFC0009040
    with pytest.raises(TracerError, match=r"holds of ksm_lock cannot.*load ksm\.ko"):
        lock_tracer.lock_address(["ffffffffc0101000 D ksm_lock\t[other]"])


def test_hold_names_the_thread_and_the_function_that_dropped_the_lock() -> None:
    text = line("kworker/0:1-events", 9, 5.0, f"ksmlab_hold: ns=50000 caller={IN_UNMERGE}")
    assert lock_tracer.parse(text, FUNCTIONS) == [Hold(50_000, "kworker/0:1-events", "ksm_unmerge")]


def test_waiting_for_the_lock_is_not_holding_it() -> None:
    wait_ends = line("kksmd", 7, 9.999, "contention_end: lock_addr=0xffffffffc0009040 ret=0")
    assert parsed(wait_ends, held(10.0, 5_000_000)) == [1_000_000]
    # A wait that ended before the hold began belongs to an earlier hold.
    assert parsed(wait_ends, held(10.0, 500_000)) == [500_000]
    of_another = wait_ends.replace("-7", "-8")
    assert parsed(of_another, held(10.0, 5_000_000)) == [5_000_000]


@pytest.mark.parametrize(("state", "ns"), [("R", 1_000_000), ("R+", 1_000_000), ("D", 5_000_000)])
def test_preemption_is_not_counted_but_sleep_is(state: str, ns: int) -> None:
    away = (switch(9.995, 7, state, 1), switch(9.999, 1, "S", 7))
    assert parsed(*away, held(10.0, 5_000_000)) == [ns]


def test_preemption_before_a_hold_does_not_shorten_it() -> None:
    away = (switch(9.0, 7, "R", 1), switch(9.999, 1, "S", 7))
    assert parsed(*away, held(10.0, 5_000_000)) == [1_000_000]
    assert parsed(*away, held(10.0, 5_000_000), held(11.0, 5_000_000)) == [1_000_000, 5_000_000]


def interrupt(start: float, end: float, kind: str = "softirq", pid: int = 7) -> tuple[str, str]:
    return (
        line("kksmd", pid, start, f"{kind}_entry: vec=9 [action=RCU]"),
        line("kksmd", pid, end, f"{kind}_exit: vec=9 [action=RCU]"),
    )


@pytest.mark.parametrize("kind", ["softirq", "irq_handler", "local_timer"])
def test_an_interrupt_is_not_counted(kind: str) -> None:
    assert parsed(*interrupt(9.996, 9.998, kind), held(10.0, 5_000_000)) == [3_000_000]
    assert parsed(*interrupt(9.996, 9.998, kind, 8), held(10.0, 5_000_000)) == [5_000_000]


def test_an_interrupt_during_an_interrupt_is_subtracted_once() -> None:
    outer, inner = interrupt(9.996, 9.998), interrupt(9.9965, 9.997, "local_timer")
    assert parsed(outer[0], *inner, outer[1], held(10.0, 5_000_000)) == [3_000_000]


def test_an_interrupt_that_began_before_the_trace_is_ignored() -> None:
    assert parsed(interrupt(9.0, 9.998)[1], held(10.0, 5_000_000)) == [5_000_000]


@pytest.fixture
def tracefs(tmp_path: Path) -> Path:
    for event in (
        "ksmlab/lock",
        "ksmlab/unlock",
        "synthetic/ksmlab_hold",
        "lock/contention_end",
        "sched/sched_switch",
        "irq/irq_handler_entry",
        "irq/irq_handler_exit",
        "irq/softirq_entry",
        "irq/softirq_exit",
        "irq_vectors/local_timer_entry",
        "irq_vectors/local_timer_exit",
    ):
        directory = tmp_path / "events" / event
        directory.mkdir(parents=True)
        (directory / "trigger").touch()
    for name in ("kprobe_events", "synthetic_events", "trace"):
        (tmp_path / name).touch()
    (tmp_path / "per_cpu/cpu0").mkdir(parents=True)
    (tmp_path / "per_cpu/cpu0/stats").write_text("entries: 3\noverrun: 0\ncommit overrun: 0\n")
    (tmp_path / "kallsyms").write_text(KALLSYMS)
    return tmp_path


def test_tracer_returns_the_longest_hold_and_removes_its_events(tracefs: Path) -> None:
    with LockTracer(tracefs, tracefs / "kallsyms") as tracer:
        trigger = (tracefs / "events/ksmlab/unlock/trigger").read_text()
        assert "if lock==0xffffffffc0009040" in trigger
        both = f"{held(1.0, 30_000)}\n{held(2.0, 40_000)}\n"
        assert tracer.during(lambda: (tracefs / "trace").write_text(both)) == Hold(
            40_000, "kksmd", "ksm_unmerge"
        )
        short = held(1.0, lock_tracer.SHORTEST)
        assert tracer.during(lambda: (tracefs / "trace").write_text(short)) is None
    assert f"!{trigger}" in (tracefs / "events/ksmlab/unlock/trigger").read_text()
    assert "-:ksmlab/lock" in (tracefs / "kprobe_events").read_text()


def test_lost_events_are_an_error(tracefs: Path) -> None:
    with LockTracer(tracefs, tracefs / "kallsyms") as tracer:
        (tracefs / "per_cpu/cpu0/stats").write_text("overrun: 12\n")
        with pytest.raises(TracerError, match="too small"):
            tracer.during(lambda: None)


def test_child_reports_its_result_and_ends() -> None:
    with Child(lambda: 42) as child:
        assert child.result == 42


def test_child_that_fails_is_an_error() -> None:
    with pytest.raises(HoldError, match="has failed"):
        Child(lambda: 1 // 0)


def test_index_probe_measures_each_operation(tmp_path: Path) -> None:
    program = compile_index_probe(tmp_path / "index_probe", CHECKOUT)
    done = subprocess.run([program, "65536"], capture_output=True, text=True, check=True)
    found = dict(line.split() for line in done.stdout.splitlines())
    assert set(found) == {"grow", "remove", "walk"}
    assert all(int(ns) > 0 for ns in found.values())


def test_each_index_measures_an_exit_in_a_pass_and_only_hashes_collide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Named:
        def __init__(self, engine: MagicMock, *_: object) -> None:
            self._index = engine.name

        def __getattr__(self, operation: str) -> Callable[..., list[Longest]]:
            return lambda *_: [Longest(self._index, operation, None)]

    def engine(name: str) -> MagicMock:
        entered = MagicMock()
        entered.__enter__.return_value.name = name
        return entered

    monkeypatch.setattr(holds, "Holds", Named)
    monkeypatch.setattr(holds, "DriverEngine", engine)
    monkeypatch.setattr(holds, "LockTracer", MagicMock())
    monkeypatch.setattr(holds, "probe_index", lambda _: [])
    found = [(one.index, one.operation) for one in holds.measure(MagicMock(engines=(HASH, TREE)))]
    assert found == [
        (HASH, "living"), (HASH, "exiting"), (HASH, "exiting_in_a_pass"), (HASH, "collisions"),
        (TREE, "living"), (TREE, "exiting"), (TREE, "exiting_in_a_pass"), (TREE, "many_regions"),
    ]  # fmt: skip


def test_16_gib_are_registered() -> None:
    assert holds.WIDE_PAGES * 4096 == 16 << 30


def test_only_holds_beyond_1_ms_are_too_long() -> None:
    at_bound = Longest(HASH, "exit", holds_host.BOUND_NS, "kksmd", "f")
    assert holds_host.too_long([SHORT, NONE, at_bound, LONG]) == [LONG]


def test_table_shows_the_bound_for_each_operation() -> None:
    table = holds_host.table("6.12", [SHORT, NONE, LONG])
    assert table.head[-1] == "≤ 1.00 ms"
    assert [row[-2:] for row in table.rows] == [
        ("90.0 µs", "yes"), ("< 20.0 µs", "yes"), ("20.0 ms", "no"),
    ]  # fmt: skip


def test_json_has_the_bound_and_each_hold(tmp_path: Path) -> None:
    measured = holds_host.Measured("debian-6.12", "6.12.1", (SHORT, NONE))
    path = holds_host.write([measured], host.describe(tmp_path, "ksmlab bench --holds"), tmp_path)
    data = json.loads(path.read_text())
    assert data["bound_ns"] == 1_000_000
    assert [Longest(**one) for one in data["kernels"][0]["longest"]] == [SHORT, NONE]
    assert asdict(measured)["kernel"] == data["kernels"][0]["kernel"]


@pytest.mark.parametrize("longest", [SHORT, LONG])
def test_check_fails_if_the_lock_is_held_too_long(longest: Longest, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    wanted = Wanted(("k",), (TREE,), (), 512, 1)
    results = Results("c", "c", "m", "w")
    match = (
        r"longer than 1\.00 ms: merge \(tree\): 20\.0 ms"
        if longest is LONG
        else "(?m)^The baseline has none"
    )
    with pytest.raises(VmError, match=match):
        check.check(
            results, wanted, console, update=False, holds=[longest], stored=tmp_path / "none.json"
        )
