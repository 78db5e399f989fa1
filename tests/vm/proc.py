"""Read the state of a task from its directory in /proc.

Source: proc(5), and proc_pid_schedstat() in fs/proc/base.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def state(task: Path) -> str:
    """Return the letter of the task's state: R (running or runnable), S (sleeping), D (uninterruptible sleep)."""
    return task.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0]


def cpu_seconds(task: Path) -> tuple[float, float]:
    """Return the seconds for which the task has run, and the seconds for which it has waited for a CPU."""
    ran, waited, _ = map(int, task.joinpath("schedstat").read_text().split())
    return ran / 1e9, waited / 1e9
