"""Store the benchmark results that the documentation shows, without their samples.

    python -m ksmlab.bench.kept build/bench/results.json

stores the result of `make bench` in docs/data/bench-results.json. With a second argument it stores them elsewhere;
docs/data/bench-counted.json has the result of `ksmlab bench --counted`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksmlab.bench.metrics import METRICS
from ksmlab.bench.tables import Table, against
from ksmlab.bench.targets import Verdict
from ksmlab.lab import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

DATA = CHECKOUT / "docs/data/bench-results.json"
COUNTED = CHECKOUT / "docs/data/bench-counted.json"
#: Of a file that says no more of a target than its row in the table does.
USUAL = {"kernel": "", "engine": "hash", "versus": "in_kernel", "least": None, "most": None}
ABOUT = ("command", "commit", "machine", "when")
MAKE = "Make it: python -m ksmlab.bench.kept build/bench/results.json"


class KeptError(Exception):
    """There are no results, or none of the rows that are asked for."""


@dataclass(frozen=True)
class Measured:
    """The targets of one `make bench`, and where it was.

    Attributes:
        command: The exact command.
        commit: The commit of the checkout.
        machine: The host's CPU.
        when: UTC, ISO 8601.
        verdicts: Each target beside what was measured.
    """

    command: str
    commit: str
    machine: str
    when: str
    verdicts: tuple[Verdict, ...]

    @classmethod
    def read(cls, path: Path = DATA) -> Measured:
        """Read a results.json, or what keep() made of one.

        Raises:
            KeptError: It is not there, or has no targets.
        """
        try:
            data = json.loads(path.read_text())
            verdicts = tuple(_verdict(each) for each in data["targets"])
            about = {name: str(data[name]) for name in ABOUT}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KeptError(f"{path} has no results ({error!r}). {MAKE}") from None
        return cls(**about, verdicts=verdicts)

    def markdown(
        self, workloads: Collection[str] = (), metrics: Collection[str] = (), kernel: str = ""
    ) -> str:
        """Write rows as tables in Markdown, one for each kernel, and below them of what they are.

        Args:
            workloads: Of which; of all, if empty.
            metrics: The figures of them; all, if empty.
            kernel: Only those of one kernel.

        Raises:
            KeptError: There are none.
        """
        chosen = [
            each
            for each in self.verdicts
            if (not workloads or each.workload in workloads)
            and (not metrics or each.metric in metrics)
            and (not kernel or each.kernel == kernel)
        ]
        if not chosen:
            wanted = " ".join((*workloads, *metrics, kernel))
            raise KeptError(f"the results have no target of {wanted}. {MAKE}")
        parts = []
        for name in dict.fromkeys(each.kernel for each in chosen):
            table = _page_table(each for each in chosen if each.kernel == name)
            parts.append(f"{name}:\n\n{table}" if name else table)
        parts.append(
            f"(`{self.command}`, commit {self.commit[:12]}, {self.when[:10]}, {self.machine})"
        )
        return "\n\n".join(parts)


def _page_table(verdicts: Iterable[Verdict]) -> str:
    """Write targets as a table of four columns, which a phone can show."""
    rows = []
    for verdict in verdicts:
        metric = METRICS[verdict.metric]
        target = verdict.wanted if verdict.met else f"{verdict.wanted}, missed"
        measured = metric.show(verdict.ours)
        if verdict.in_kernel is not None:
            measured += f", {metric.show(verdict.in_kernel)}"
        rows.append((f"{verdict.workload}: {against(verdict)}", measured, verdict.found, target))
    head = ("workload and figure", "this driver, in-kernel KSM", "ratio", "target")
    return Table("", head, tuple(rows), numeric=1).markdown().partition("\n\n")[2]


def of_options(options: Mapping[str, str]) -> str:
    """Return the rows that the options of a ``targets`` block select, as Markdown.

    Raises:
        KeptError: There are none.
    """
    workloads, metrics = (options.get(name, "").split() for name in ("workload", "metric"))
    return Measured.read().markdown(workloads, metrics, options.get("kernel", ""))


def _verdict(data: Mapping[str, Any]) -> Verdict:
    known = {each.name for each in fields(Verdict)}
    given = {name: value for name, value in data.items() if name in known}
    at_least = given.get("versus", USUAL["versus"]) == USUAL["versus"]
    return Verdict(**{**USUAL, "at_least": at_least, **given})


def keep(source: Path, target: Path = DATA) -> None:
    """Keep what pages need of a results.json.

    Raises:
        KeptError: It has no targets.
    """
    Measured.read(source)
    data = json.loads(source.read_text())
    kept = {name: data[name] for name in (*ABOUT, "targets")}
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    keep(*(Path(argument) for argument in sys.argv[1:3]))
