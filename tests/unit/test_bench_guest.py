"""The guest's half, as far as it needs no driver: contents, arithmetic, and what the two halves say to each other."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from ksmlab.bench import figures, reality, runner
from ksmlab.bench.engines import NO_REST, Look, Rest
from ksmlab.bench.guest import MARK, Modules, Session
from ksmlab.bench.plan import ENGINES, HASH, IN_KERNEL, TREE, Plan
from ksmlab.bench.probe import Probe
from ksmlab.bench.result import Guest, Results, Sample
from ksmlab.bench.runner import (
    COUNTED_HASH_SEED,
    Lines,
    Wanted,
    compile_probe,
    config_for,
    plan_for,
    takes_index,
)
from ksmlab.bench.workloads import WORKLOADS, Memory, Surroundings
from ksmlab.libc import PAGE_SIZE
from ksmlab.vm.accel import Accel
from ksmlab.vm.build import BuiltModules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAN = Plan(
    engines=("in_kernel", "tree"),
    workloads=("all_equal", "real_files"),
    npages=512,
    runs=2,
    module="/b/ksm.ko",
    lab_module="/b/ksm_lab.ko",
    probe="/b/probe.so",
    factors=(4, 16),
    interval=0,
)
SAMPLE = Sample(
    "k", 0, "churn", "hash", 1, 10, 10, 4, {"steady_pass_ns": 1.5}, ((0, 0), (9, 4)), "so"
)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Probe:
    return Probe(str(compile_probe(tmp_path_factory.mktemp("probe") / "probe.so")))


def distinct(memory: Memory, count: int | None = None) -> int:
    data = bytes(memory.view(0, count))
    return len({data[at : at + PAGE_SIZE] for at in range(0, len(data), PAGE_SIZE)})


@pytest.mark.parametrize(
    ("name", "possible"),
    [
        ("all_equal", 599),
        ("each_twice", 300),
        ("unique_random", 0),
        ("common_prefix", 0),
        ("churn", 270),
        ("writer", 270),
    ],
)
def test_contents_hold_what_can_be_saved(name: str, possible: int) -> None:
    with WORKLOADS[name].make(600, 1) as memory, WORKLOADS[name].make(600, 1) as again:
        assert memory.possible == possible
        assert memory.still - distinct(memory, memory.still) == possible
        assert bytes(memory.view()) == bytes(again.view())


def test_a_common_prefix_differs_in_the_last_word_alone() -> None:
    with WORKLOADS["common_prefix"].make(64, 1) as memory:
        pages = [bytes(memory.view(page, 1)) for page in range(64)]
    assert len({page[:-8] for page in pages}) == 1
    assert len({page[-8:] for page in pages}) == 64


def test_sparse_memory_has_one_page_in_512() -> None:
    with WORKLOADS["sparse"].make(512, 1) as memory:
        assert (memory.npages, memory.present, memory.possible) == (8192, 16, 0)
        pages = {bytes(memory.view(page, 1)) for page in range(0, memory.npages, 512)}
        assert len(pages) == 16
        assert bytes(PAGE_SIZE) not in pages


def test_files_of_usr_are_there_twice() -> None:
    data = reality.files_twice(64)
    assert len(data) == 64 * PAGE_SIZE
    assert data[: len(data) // 2] == data[len(data) // 2 :]


@contextmanager
def busy_until_changed(name: str, probe: Probe) -> Iterator[Memory]:
    """Have a workload write until what may change has changed; what lies still must not have."""
    with WORKLOADS[name].make(100, 1) as memory:
        before = bytes(memory.view())
        still = memory.still * PAGE_SIZE
        with WORKLOADS[name].busy(memory, Surroundings(probe, 0)):
            while bytes(memory.view())[still:] == before[still:]:
                pass
        assert bytes(memory.view())[:still] == before[:still]
        yield memory


def test_pages_that_change_get_contents_that_they_never_had(probe: Probe) -> None:
    with busy_until_changed("churn", probe) as memory:
        assert distinct(memory) == 45 + 10


def test_the_writers_write_in_the_last_tenth(probe: Probe) -> None:
    with busy_until_changed("writer", probe) as memory, WORKLOADS["writer"].make(100, 1) as before:
        assert memory.npages - memory.still == 10
        pairs = zip(memory.view(memory.still), before.view(memory.still), strict=True)
        words = {at % PAGE_SIZE // 8 for at, (now, then) in enumerate(pairs) if now != then}
    # Not only where a sample may have, or lack, one certain word of each page.
    assert len(words) > 10


def test_each_write_changes_its_page_and_is_timed(probe: Probe) -> None:
    with Memory(10) as memory:
        times = probe.write_each(
            range(memory.address, memory.address + 10 * PAGE_SIZE, 2 * PAGE_SIZE)
        )
        assert len(times) == 5
        assert times == sorted(times)
        assert times[0] > 0
        written = [any(memory.view(page, 1)) for page in range(10)]
    assert written == [True, False] * 5


def look(cpu_ns: int, saved: int, ns: int = 0) -> Look:
    return Look(ns, cpu_ns, saved, 0)


def test_the_goal_lies_on_the_line_between_two_looks() -> None:
    assert figures.goal_of(1000) == 990
    before, after = look(100, 900, 10), look(200, 1000, 30)
    assert figures.crossing(before, after, 990) == (190, 28)


def test_a_thin_curve_keeps_its_ends() -> None:
    points = [(at, at) for at in range(1000)]
    thin = figures.thin(points, 10)
    assert (len(thin), thin[0], thin[-1]) == (10, (0, 0), (999, 999))
    assert figures.thin(points[:3], 10) == tuple(points[:3])


def test_percentiles_are_values_that_were_measured() -> None:
    assert figures.percentile([1, 2, 3, 4], 50) == 2
    assert figures.percentile(list(range(1, 101)), 99) == 99
    assert figures.percentile([7], 99) == 7


def test_shootdowns_of_all_cpus(tmp_path: Path) -> None:
    table = tmp_path / "interrupts"
    table.write_text("    CPU0 CPU1\n 1: 5 6 timer\nTLB:  7  8  TLB shootdowns\n")
    assert figures.tlb_shootdowns(table) == 15


def test_the_slowest_hundredth_of_writes_is_not_in_the_mean() -> None:
    times = [10] * 98 + [20, 90_000]
    found = figures.write_latency(times)
    assert found["write_fault_ns"] == pytest.approx((98 * 10 + 20) / 99)
    assert (found["write_p50_ns"], found["write_p99_ns"]) == (10, 20)


class MergedMemory:
    """A stand-in for an engine and its memory: 8 pages, which are merged until they are unmerged."""

    name = "fake"
    address = 0
    npages = possible = 8

    def __init__(self) -> None:
        self.merged = True
        self.calls: list[str] = []

    def unmerge_all(self) -> None:
        self.calls.append("run=2")
        self.merged = False

    def remove(self, _memory: object) -> None:
        self.calls.append("remove")
        self.merged = False

    def stop(self) -> None:
        self.calls.append("stop")

    def write_each(self, addresses: list[int]) -> list[int]:
        self.calls.append(f"write {len(addresses)}")
        return [10] * len(addresses)

    def shared_pages(self, _memory: object) -> tuple[list[int], int]:
        return (list(range(8)) if self.merged else [], 0)

    def merge(self, *_: object) -> None:
        self.calls.append("merge")
        self.merged = True


def test_pages_are_unmerged_by_run_2_and_merged_again_and_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = MergedMemory()
    monkeypatch.setattr(figures, "shared_pages", fake.shared_pages)
    monkeypatch.setattr(figures, "merge", fake.merge)
    found = figures.unmerge(fake, fake, range(8), PLAN, fake)  # type: ignore[arg-type]
    # At most half of the pages are written to, so that some are left to be unmerged.
    assert fake.calls == ["run=2", "merge", "stop", "write 4", "remove"]
    assert set(found) == {
        "unmerge_page_ns", "write_fault_ns", "write_p50_ns", "write_p99_ns", "remove_page_ns",
    }  # fmt: skip


@pytest.mark.parametrize("which", ["unmerge_all", "remove"])
def test_pages_that_stay_merged_are_an_error(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = MergedMemory()
    monkeypatch.setattr(figures, "shared_pages", fake.shared_pages)
    monkeypatch.setattr(figures, "merge", fake.merge)
    monkeypatch.setattr(fake, which, lambda *_: None)
    with pytest.raises(figures.NotUnmergedError, match="did not unmerge 8 of 8 pages"):
        figures.unmerge(fake, fake, range(8), PLAN, fake)  # type: ignore[arg-type]


class FakeEngine:
    """Merges `pace` frames a look, and ends a pass every second look."""

    name = "fake"

    def __init__(self, pace: int, rest: Rest = NO_REST) -> None:
        self.pace, self.looks, self.rest = pace, 0, rest

    def run(self) -> None:
        pass

    def wait(self, _seconds: float) -> None:
        pass

    def look(self) -> Look:
        self.looks += 1
        return Look(self.looks * 1000, self.looks * 100, self.looks * self.pace, self.looks // 2)


def test_merging_ends_at_the_goal() -> None:
    reached = figures.merge(FakeEngine(10), 100, PLAN)  # type: ignore[arg-type]
    # From look 1, with 10 saved already, to 99 saved, at look 9.9.
    assert reached.cpu_ns == pytest.approx(890)
    assert reached.wall_ns == pytest.approx(8900)
    assert reached.saved == 100


def test_merging_ends_when_patience_does() -> None:
    reached = figures.merge(FakeEngine(1), 1000, replace(PLAN, patience=3))  # type: ignore[arg-type]
    assert reached.cpu_ns is None
    assert reached.saved == 6


def test_steady_passes_are_averaged() -> None:
    plan = replace(PLAN, steady_ns=0)
    cost, passes = figures.steady_pass(FakeEngine(0), plan)  # type: ignore[arg-type]
    assert (cost, passes) == (200, 10)


def test_steady_passes_are_whole_cycles_once_all_rests() -> None:
    plan = replace(PLAN, steady_ns=0)
    engine = FakeEngine(0, Rest(settle=50, cycle=9))
    _, passes = figures.steady_pass(engine, plan)  # type: ignore[arg-type]
    # Two looks a pass; 18 is the first multiple of 9 that is at least 10.
    assert passes == 18
    assert engine.looks // 2 == 51 + 18
    assert not figures.whole_cycles(5, 9)
    assert not figures.whole_cycles(100, 9)
    assert figures.whole_cycles(figures.MANY_CYCLES * 9 + 1, 9)


def test_each_look_at_everything_lasts_three_passes() -> None:
    engine = FakeEngine(0)
    engine.look_at_all = lambda: False  # type: ignore[attr-defined]
    assert figures.full_pass(engine, PLAN) is None  # type: ignore[arg-type]
    engine.look_at_all = lambda: True  # type: ignore[attr-defined]
    assert figures.full_pass(engine, PLAN) == 200  # type: ignore[arg-type]
    assert engine.looks // 2 == figures.FULL_ROUNDS * (2 + figures.FULL_PASSES)


def test_a_scanner_that_stands_still_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "STUCK_SECONDS", 1e-5)
    engine = FakeEngine(0)
    clock = iter(range(0, 1 << 30, 1000))
    monkeypatch.setattr(engine, "look", lambda: Look(next(clock), 0, 0, 0))
    with pytest.raises(figures.StuckError, match="has not completed a pass"):
        figures.watch(engine, lambda _look: False, 0)  # type: ignore[arg-type]


def test_what_is_measured_in_which_order() -> None:
    session = Session.__new__(Session)
    session.plan = PLAN
    assert list(session.rounds()) == [
        (1, 0, "all_equal"), (1, 0, "real_files"), (4, 0, "all_equal"), (16, 0, "all_equal"),
        (1, 1, "all_equal"), (1, 1, "real_files"),
    ]  # fmt: skip


def test_more_memory_again_with_whom_targets_are_about() -> None:
    session = Session.__new__(Session)
    session.engines = ENGINES
    assert session.engines_in(1, 1) == session.engines_in(16, 0) == ENGINES
    assert session.engines_in(16, 1) == (IN_KERNEL, HASH)
    session.engines = (IN_KERNEL, TREE)
    assert session.engines_in(4, 2) == (IN_KERNEL, TREE)


@pytest.mark.parametrize(("counted", "seed"), [(False, 0), (True, COUNTED_HASH_SEED)])
def test_samples_are_drawn_but_where_instructions_are_counted(
    counted: bool, seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built = BuiltModules(tmp_path, (tmp_path / "ksm.ko", tmp_path / "ksm_lab.ko"), "")
    monkeypatch.setattr(runner, "takes_index", lambda _module: True)
    wanted = Wanted(("k",), ("hash",), ("sparse",), 512, 2, counted=counted)
    plan = plan_for(wanted, built, tmp_path)
    assert plan.hash_seed == seed
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda argv, **_: commands.append(argv))
    modules = Modules(plan)
    modules.load("hash")
    modules.load_any()
    modules.load("hash")
    loads = [argv[2:] for argv in commands if argv[0] == "insmod" and len(argv) > 2]
    # The driver is loaded again for each measurement, also with the same index.
    assert loads == 2 * [["sysfs=auto", f"hash_seed={seed}", "index=hash"]]


def test_a_plan_arrives_as_it_was() -> None:
    assert Plan.from_json(PLAN.to_json()) == PLAN
    with pytest.raises(ValueError, match="not a benchmark plan of this version"):
        Plan.from_json('{"runs": 1}')


def test_results_are_read_as_they_were_written() -> None:
    guest = Guest("k", "6.1", 2, 1 << 30, "how", ("tree",))
    results = Results("command", "commit", "machine", "now", (guest,), (SAMPLE,))
    assert Results.from_data(json.loads(json.dumps(results.to_data()))) == results
    with pytest.raises(ValueError, match="format 0"):
        Results.from_data({**results.to_data(), "format": 0})


def test_lines_for_the_host_are_found_among_others() -> None:
    found: list[object] = []
    lines = Lines(found.append)
    text = f"noise\n{MARK}{json.dumps({'kind': 'sample', **asdict(SAMPLE)})}\nmore\n"
    for at in range(0, len(text), 7):
        lines.feed(text[at : at + 7])
    assert len(found) == 1
    assert lines.other == ["noise", "more"]


def test_a_module_says_whether_it_takes_an_index(tmp_path: Path) -> None:
    module = tmp_path / "ksm.ko"
    module.write_bytes(b"\0parmtype=sysfs:charp\0")
    assert not takes_index(module)
    module.write_bytes(b"\0parmtype=index:charp\0parmtype=sysfs:charp\0")
    assert takes_index(module)


def test_a_machine_that_counts_has_one_emulated_cpu(tmp_path: Path) -> None:
    wanted = Wanted(("k",), ("tree",), ("churn",), 512, 1)
    kvm = Accel(kvm=True, why="fast")
    config, accel = config_for(wanted, tmp_path, kvm)
    assert (config.cpus, accel) == (2, kvm)
    assert "-mem-prealloc" in config.qemu_options
    config, accel = config_for(replace(wanted, counted=True), tmp_path, kvm)
    assert config.cpus == 1
    assert "-icount" in config.qemu_options
    assert "--disable-kvm" in accel.virtme_options


def test_random_keys_follow_from_the_seed() -> None:
    with WORKLOADS["unique_random"].make(8, 1) as one, WORKLOADS["unique_random"].make(8, 2) as two:
        assert bytes(one.view()) != bytes(two.view())
