"""Measure, in the guest, for how long a scanner disables preemption or interrupts.

The kernel's tracer stores only the longest section with preemption or interrupts disabled, of any task. So this module
reads and resets it every few milliseconds, and gets the longest section of each such window. The scanner's longest
section is known from the windows in which no other task had a longer one.

python -m ksmlab.bench.latency PLAN
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ksmlab.bench import batches, figures
from ksmlab.bench.guest import Session, say, take_the_cpu
from ksmlab.bench.plan import Plan
from ksmlab.bench.tracer import TRACERS, Section, Tracer
from ksmlab.bench.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ksmlab.bench.engines import Engine, Look

#: The number of passes to trace after the goal has been reached.
MORE_PASSES = 10
#: The length of a window in seconds.
WINDOW = 0.002


@dataclass(frozen=True)
class Longest:
    """The longest sections of one engine on one workload.

    Attributes:
        engine: One of plan.ENGINES.
        workload: The name of the workload.
        tracer: One of TRACERS, which names what was disabled.
        windows: The number of windows.
        scanner: The scanner's longest section; None if another task had a longer one in each window.
        other: The longest section of any other task; None if the scanner had a longer one in each window.
    """

    engine: str
    workload: str
    tracer: str
    windows: int
    scanner: Section | None
    other: Section | None

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Longest:
        """Convert plain data, as made by dataclasses.asdict() and JSON."""
        ends = {end: Section(**data[end]) if data[end] else None for end in ("scanner", "other")}
        return cls(**{**data, **ends})


def longest(found: Iterable[Section]) -> Section | None:
    """Return the longest section, or None if there is none."""
    return max(found, key=lambda section: section.us, default=None)


def trace(engine: Engine, tracer: Tracer, possible: int, plan: Plan) -> list[Section]:
    """Run an engine until MORE_PASSES passes after it has reached its goal.

    Args:
        engine: The engine, with its memory.
        tracer: The running tracer.
        possible: The number of frames that can be saved.
        plan: The settings of the measurement.

    Returns:
        The longest section of each window, without the windows that have none.
    """
    goal = figures.goal_of(possible)
    found: list[Section] = []
    start = engine.look().scans

    def take(done: bool) -> bool:
        section = tracer.take()
        if section is not None:
            found.append(section)
        return done

    def merged(look: Look) -> bool:
        return take(look.saved >= goal or look.scans >= start + plan.patience)

    engine.run()
    reached = figures.watch(engine, merged, WINDOW)[-1].scans
    figures.watch(engine, lambda look: take(look.scans >= reached + MORE_PASSES), WINDOW)
    engine.stop()
    return found


def measure(session: Session) -> Iterator[Longest]:
    """Trace each engine on each workload with each tracer."""
    for workload in session.plan.workloads:
        for name in session.engines:
            for kind in TRACERS:
                with (
                    session.engine(name) as engine,
                    session.memory(WORKLOADS[workload], 1) as memory,
                ):
                    engine.add(memory)
                    with Tracer(kind) as tracer:
                        found = trace(engine, tracer, memory.possible, session.plan)
                    engine.drop(memory)
                own = [section for section in found if section.task == engine.thread]
                others = [section for section in found if section.task != engine.thread]
                yield Longest(name, workload, kind, len(found), longest(own), longest(others))


def main() -> None:
    """Measure the plan in the first argument, and print the results."""
    take_the_cpu()
    session = Session(Plan.from_json(sys.argv[1]))
    say("guest", asdict(session.guest()))
    for one in measure(session):
        say("longest", asdict(one))
    for largest in batches.measure(session):
        say("batches", asdict(largest))
    session.modules.unload()


if __name__ == "__main__":
    main()
