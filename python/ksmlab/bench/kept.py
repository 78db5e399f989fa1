"""Store the benchmark results that the documentation shows, without their samples.

    python -m ksmlab.bench.kept build/bench/results.json

stores the results of `make bench` in docs/data/bench-results.json. A second argument names another file to write: the
results of `ksmlab bench --counted` are stored in docs/data/bench-counted.json.
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
from ksmlab.vm.failures import cause

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

DATA = CHECKOUT / "docs/data/bench-results.json"
COUNTED = CHECKOUT / "docs/data/bench-counted.json"
#: Values for fields of a target that a stored file does not have.
USUAL = {"kernel": "", "engine": "hash", "versus": "in_kernel", "least": None, "most": None}
ABOUT = ("command", "commit", "machine", "when")
MAKE = "To store results:  python -m ksmlab.bench.kept build/bench/results.json"


class KeptError(Exception):
    """There are no stored results, or they lack the requested rows."""


@dataclass(frozen=True)
class Measured:
    """The results of one `make bench`, without samples.

    Attributes:
        command: The exact command.
        commit: The commit of the checkout.
        machine: The host's CPUs and their load.
        when: The time of the start: UTC, ISO 8601.
        verdicts: The targets with the measured values.
    """

    command: str
    commit: str
    machine: str
    when: str
    verdicts: tuple[Verdict, ...]

    @classmethod
    def read(cls, path: Path = DATA) -> Measured:
        """Read a results.json, or a file that keep() has written.

        Raises:
            KeptError: The file cannot be read, or has no targets.
        """
        try:
            data = json.loads(path.read_text())
            verdicts = tuple(_verdict(each) for each in data["targets"])
            about = {name: str(data[name]) for name in ABOUT}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KeptError(f"{path} does not contain results: {cause(error)}. {MAKE}") from None
        return cls(**about, verdicts=verdicts)

    def markdown(
        self, workloads: Collection[str] = (), metrics: Collection[str] = (), kernel: str = ""
    ) -> str:
        """Return targets as Markdown: a table for each kernel, and a line with the command, the commit and the host.

        Args:
            workloads: The workloads to include; all if empty.
            metrics: The metrics to include; all if empty.
            kernel: The kernel to include; all if empty.

        Raises:
            KeptError: No target matches.
        """
        chosen = [
            each
            for each in self.verdicts
            if (not workloads or each.workload in workloads)
            and (not metrics or each.metric in metrics)
            and (not kernel or each.kernel == kernel)
        ]
        if not chosen:
            wanted = " ".join((*workloads, *metrics, kernel)).strip()
            raise KeptError(f"the stored results have no target for {wanted}. {MAKE}")
        parts = []
        for name in dict.fromkeys(each.kernel for each in chosen):
            table = _page_table(each for each in chosen if each.kernel == name)
            parts.append(f"{name}:\n\n{table}" if name else table)
        parts.append(
            f"(`{self.command}`, commit {self.commit[:12]}, {self.when[:10]}, {self.machine})"
        )
        return "\n\n".join(parts)


def _page_table(verdicts: Iterable[Verdict]) -> str:
    """Return targets as a table of four columns, which is narrow enough for a phone."""
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
    """Return the targets that the options of a ``targets`` block select, as Markdown.

    Raises:
        KeptError: No target matches.
    """
    workloads, metrics = (options.get(name, "").split() for name in ("workload", "metric"))
    return Measured.read().markdown(workloads, metrics, options.get("kernel", ""))


def _verdict(data: Mapping[str, Any]) -> Verdict:
    known = {each.name for each in fields(Verdict)}
    given = {name: value for name, value in data.items() if name in known}
    at_least = given.get("versus", USUAL["versus"]) == USUAL["versus"]
    return Verdict(**{**USUAL, "at_least": at_least, **given})


def keep(source: Path, target: Path = DATA) -> None:
    """Store the part of a results.json that the documentation shows: the targets, without samples.

    Args:
        source: The results.json.
        target: The file to write.

    Raises:
        KeptError: The file cannot be read, or has no targets.
    """
    Measured.read(source)
    data = json.loads(source.read_text())
    kept = {name: data[name] for name in (*ABOUT, "targets")}
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    keep(*(Path(argument) for argument in sys.argv[1:3]))
