"""The guest's half of the latency measurement: trace while a scanner merges, and separate its sections from others.

The tracer keeps only the longest section. So it is read and reset every few milliseconds, which yields the longest
section of each such window. The scanner's longest section is taken from the windows in which no other task had a longer
one.

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

#: Passes after the goal.
MORE_PASSES = 10
#: Seconds of a window.
WINDOW = 0.002


@dataclass(frozen=True)
class Longest:
    """The longest sections of one engine on one workload.

    Attributes:
        engine: One of plan.ENGINES.
        workload: Its name.
        tracer: One of TRACERS: what was off.
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
        """Read what dataclasses.asdict() and JSON made of one."""
        ends = {end: Section(**data[end]) if data[end] else None for end in ("scanner", "other")}
        return cls(**{**data, **ends})


def longest(found: Iterable[Section]) -> Section | None:
    """Give the longest; the first of equals, and None of none."""
    return max(found, key=lambda section: section.us, default=None)


def trace(engine: Engine, tracer: Tracer, possible: int, plan: Plan) -> list[Section]:
    """Let an engine scan to its goal and some passes more, and give the longest section of each window."""
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
    """Trace each engine on each workload, with each tracer."""
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
    """Do what the first argument says."""
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
