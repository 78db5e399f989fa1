"""What /proc says of a task, by its directory there. Source: proc(5), and proc_pid_schedstat() of fs/proc/base.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def state(task: Path) -> str:
    """Return the letter of its state: R runs or would run, S sleeps, D sleeps and cannot be woken."""
    return task.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0]


def cpu_seconds(task: Path) -> tuple[float, float]:
    """Return for how many seconds it has had a CPU, and for how many it has waited for one."""
    ran, waited, _ = map(int, task.joinpath("schedstat").read_text().split())
    return ran / 1e9, waited / 1e9
