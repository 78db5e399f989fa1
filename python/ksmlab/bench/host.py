"""Describe the host and the checkout of a benchmark, and format samples for the terminal."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.bench.metrics import METRICS
from ksmlab.bench.result import Results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ksmlab.bench.result import Guest, Sample

_SHOWN = ("cpu_to_goal_ns", "wall_to_goal_ns", "steady_pass_ns")


def commit(checkout: Path) -> str:
    """Return the commit of a checkout, with "-dirty" if a file differs from it; "unknown" without git."""
    argv = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def machine(cpuinfo: Path = Path("/proc/cpuinfo"), load: float | None = None) -> str:
    """Describe the host's CPUs and their load, since figures from a busy host are less reliable.

    Args:
        cpuinfo: The file that lists the CPUs.
        load: The load average of the last minute; by default that of this host.
    """
    load = os.getloadavg()[0] if load is None else load
    lines = cpuinfo.read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = f"{len(names)} x {names[0]}" if names else "unknown"
    return f"{name}, load {load:.1f} at the start"


def describe(checkout: Path, command: str) -> Results:
    """Return results without samples, with the command, the commit, the machine and the time."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return Results(command, commit(checkout), machine(), now)


def add(results: Results, guest: Guest, samples: Sequence[Sample]) -> Results:
    """Return results with one more VM, and with these samples instead of the previous ones."""
    return replace(results, guests=(*results.guests, guest), samples=tuple(samples))


def line(sample: Sample) -> str:
    """Format the most important figures of a sample as one line."""
    what = f"{sample.kernel} {sample.factor}x run {sample.run + 1}: {sample.workload:<13} {sample.engine:<15}"
    figures = [
        f"{METRICS[name].title} {METRICS[name].show(sample.figures[name])}"
        for name in _SHOWN
        if name in sample.figures
    ]
    return f"{what} {', '.join(figures)}{f' ({sample.note})' if sample.note else ''}"
