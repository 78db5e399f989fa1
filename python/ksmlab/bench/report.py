"""Write the report of a benchmark: results.json, results.md, and an HTML page that needs no server or other files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksmlab.bench import plots
from ksmlab.bench.metrics import METRICS
from ksmlab.bench.summary import Summary
from ksmlab.bench.tables import GROWING, all_tables
from ksmlab.bench.targets import judge
from ksmlab.pictures.render import environment

if TYPE_CHECKING:
    from ksmlab.bench.result import Results
    from ksmlab.bench.targets import Verdict

TEMPLATES = Path(__file__).with_name("templates")
JSON_NAME = "results.json"
MARKDOWN_NAME = "results.md"
PAGE_NAME = "index.html"


class Report:
    """The report of a benchmark.

    Args:
        results: The results.

    Attributes:
        results: The results.
        summary: The medians and ratios of the samples.
        verdicts: The targets with the measured values.
        tables: The tables of the report.
    """

    def __init__(self, results: Results) -> None:
        """Compute medians, ratios and verdicts."""
        self.results = results
        self.summary = Summary(results.samples)
        self.verdicts: tuple[Verdict, ...] = judge(self.summary)
        self.tables = all_tables(self.summary, self.verdicts)

    @property
    def notes(self) -> list[str]:
        """Remarks on single samples and on missing figures."""
        found = [
            f"{one.kernel}, {one.workload}, {one.engine}, {one.factor}x, run {one.run + 1}: {one.note}"
            for one in self.results.samples
            if one.note
        ]
        found += [
            f"{one.kernel}, {one.workload}, {METRICS[one.metric].title}: {one.reason}"
            for one in self.verdicts
            if one.reason
        ]
        ours = [one for one in self.results.samples if one.engine in ("tree", "hash")]
        if ours and not any("metadata_per_page" in one.figures for one in ours):
            found.append("The driver has no attribute metadata_bytes, so its metadata is left out.")
        return found

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Names and values of the circumstances: command, commit, host, kernels, and the settings of the engines."""
        results = self.results
        found = [
            ("command", results.command),
            ("commit", results.commit),
            ("machine", results.machine),
            ("when", results.when),
        ]
        for guest in results.guests:
            size = f"{guest.memory / (1 << 30):.1f} GiB"
            what = f"{guest.release}, {guest.cpus} CPUs, {size}, {guest.accel}"
            found.append((f"kernel {guest.kernel}", what))
        # The settings of an engine are the same for all samples.
        told = {(one.kernel, one.engine): one.settings for one in results.samples if one.settings}
        for (kernel, engine), settings in told.items():
            text = ", ".join(f"{name} {value}" for name, value in settings.items())
            found.append((f"{engine} on {kernel}", text))
        return found

    def to_data(self) -> dict[str, Any]:
        """Return plain data for results.json: the samples, the targets, and a summary."""
        return {
            **self.results.to_data(),
            "targets": [asdict(verdict) for verdict in self.verdicts],
            "summary": [
                {**asdict(place), **asdict(spread)} for place, spread in self.summary.places()
            ],
        }

    def markdown(self) -> str:
        """Return the report as Markdown."""
        head = "# Benchmark\n\n" + "\n".join(f"- {name}: {value}" for name, value in self.facts)
        notes = "\n".join(f"- {note}" for note in self.notes)
        parts = [head, *(table.markdown() for table in self.tables)]
        return "\n\n".join([*parts, f"### Notes\n\n{notes}"] if notes else parts) + "\n"

    def html(self) -> str:
        """Return the report as an HTML page."""
        kernels = [
            {
                "name": kernel,
                "bars": plots.bar_plots(self.summary, kernel),
                "curves": plots.curves(self.results.samples, kernel),
                "growth": [
                    plot for name in GROWING for plot in plots.growth(self.summary, kernel, name)
                ],
            }
            for kernel in self.summary.kernels
        ]
        return (
            environment(TEMPLATES)
            .get_template("index.html.j2")
            .render(
                facts=self.facts,
                notes=self.notes,
                tables=self.tables,
                verdicts=self.verdicts,
                kernels=kernels,
                legend=plots.engines_in(self.summary),
            )
        )

    def save(self, directory: Path) -> None:
        """Write results.json to a directory, which is created if it does not exist.

        Raises:
            OSError: The file cannot be written.
        """
        directory.mkdir(parents=True, exist_ok=True)
        (directory / JSON_NAME).write_text(json.dumps(self.to_data(), indent=1) + "\n")

    def write(self, directory: Path) -> Path:
        """Write all files to a directory, results.json first, and return the path of the page.

        Raises:
            OSError: A file cannot be written.
        """
        self.save(directory)
        (directory / MARKDOWN_NAME).write_text(self.markdown())
        page = directory / PAGE_NAME
        page.write_text(self.html())
        return page
